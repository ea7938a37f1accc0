# SPDX-License-Identifier: Apache-2.0
"""What is measured: the points, and who is measured at which of them."""

from typing import NamedTuple, Optional

READ_PERCENT = 70  # of the mixed point


class Point(NamedTuple):
    """One kind of load, in fio's words."""

    rw: str
    block_bytes: int
    depth: int

    @property
    def block(self):
        kib = self.block_bytes >> 10
        return f"{kib >> 10}M" if kib >= 1024 else f"{kib}k"

    @property
    def name(self):
        return f"{self.rw}-{self.block}-{self.depth}"

    @property
    def short(self):
        what = {"randread": "read", "randwrite": "write", "randrw": "mixed"}.get(self.rw, self.rw)
        return f"{self.block} {what} {self.depth}"

    @property
    def title(self):
        what = {"randread": "random read", "randwrite": "random write", "read": "sequential read",
                "write": "sequential write", "randrw": f"random, {READ_PERCENT} % reads"}[self.rw]
        return f"{self.block} {what}, depth {self.depth}"


READ_1, READ_32 = Point("randread", 4096, 1), Point("randread", 4096, 32)
WRITE_1, WRITE_32 = Point("randwrite", 4096, 1), Point("randwrite", 4096, 32)
MIXED_32 = Point("randrw", 4096, 32)
BIG_READ, BIG_WRITE = Point("read", 128 << 10, 8), Point("write", 128 << 10, 8)
HUGE_READ = Point("read", 1 << 20, 4)
POINTS = (READ_1, READ_32, WRITE_1, WRITE_32, MIXED_32, BIG_READ, BIG_WRITE, HUGE_READ)
SMALL = POINTS[:5]
LARGE = POINTS[5:]


class Setup(NamedTuple):
    """Who is measured. `waits`: how both sides wait for each other, polling, sleeping, glancing, or
    adaptive as our defaults are."""

    who: str  # airlock, qemu (its storage daemon, through libblkio), direct (no device)
    data: str  # where the bytes are: null (nowhere), memory, file
    how: str  # airlock: whose buffers; qemu: its engine; direct: by which calls
    waits: Optional[str] = None
    guarded: bool = False
    points: tuple = POINTS

    @property
    def name(self):
        words = [self.who, self.data, self.how, self.waits, "guarded" if self.guarded else None]
        return "/".join(word.replace(" ", "-") for word in words if word)

    @property
    def title(self):
        if self.who == "direct":
            return f"no device, {self.how}"
        if self.who == "qemu":
            engine = "null-co" if self.data == "null" else f"{self.data}, {self.how}"
            return f"qemu-storage-daemon {engine}, {self.waits}"
        guard = ", through the guard" if self.guarded else ""
        return f"airlock {self.data}, {self.how}, {self.waits}{guard}"


IN_PLACE, BOUNCED = "in place", "bounced"
POLLING, SLEEPING, ADAPTIVE = "polling", "sleeping", "adaptive"
GLANCING = "glancing"  # sleeping, after a look of 5 us: no longer than to fall asleep takes
# One hot buffer is the strictest that a copy can be held against. A device has as many buffers as
# there are requests in flight.
MEMCPY, MEMCPY_BUFFERS = "memcpy", "memcpy to a buffer for each request"


def setups():
    """All of them."""
    chosen = [Setup("airlock", data, how, waits)
              for data in ("null", "memory", "file") for how in (IN_PLACE, BOUNCED)
              for waits in (POLLING, SLEEPING)]
    chosen += [Setup("airlock", data, IN_PLACE, ADAPTIVE,
                     points=(READ_1, READ_32, WRITE_32, MIXED_32))
               for data in ("null", "memory", "file")]
    chosen += [Setup("airlock", data, IN_PLACE, GLANCING) for data in ("null", "file")]
    # A guard is in the way of messages, not of data: a few points tell.
    chosen += [Setup("airlock", "memory", IN_PLACE, waits, guarded=True,
                     points=(READ_1, READ_32, BIG_READ)) for waits in (POLLING, SLEEPING)]
    chosen += [Setup("qemu", data, how, waits)
               for data, how in (("null", "null-co"), ("file", "io_uring"), ("file", "threads"))
               for waits in (POLLING, SLEEPING)]
    # What waits for each call has no depth: the numbers of depth 1 hold for every depth.
    one_by_one = (READ_1, WRITE_1, *(point._replace(depth=1) for point in (MIXED_32, *LARGE)))
    chosen += [Setup("direct", data, how, points=one_by_one)
               for data, how in (("file", "pread"), ("file", "mmap"), ("memory", MEMCPY))]
    chosen += [Setup("direct", "memory", MEMCPY_BUFFERS, points=(READ_32, WRITE_32, *LARGE)),
               Setup("direct", "file", "io_uring")]
    return chosen


def quick(chosen):
    """What of it tells the order of things in a minute or two."""
    points = (READ_1, READ_32, BIG_READ)
    for setup in chosen:
        kept = tuple(point for point in setup.points if point in points or
                     (setup.who == "direct" and point == BIG_READ._replace(depth=1)))
        wanted = not setup.guarded and (setup.how != BOUNCED or setup.waits == POLLING)
        if kept and wanted and setup.how != MEMCPY_BUFFERS:
            yield setup._replace(points=kept)


def at_depth(setup, point):
    """The point at which `setup` was measured for the sake of `point`; None if it was not."""
    if point in setup.points:
        return point
    alone = point._replace(depth=1)
    return alone if setup.who == "direct" and alone in setup.points else None
