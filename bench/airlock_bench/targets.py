# SPDX-License-Identifier: Apache-2.0
"""The speeds that are aimed at, as ratios between two setups of one measurement."""

from typing import NamedTuple

from .plan import (ADAPTIVE, BIG_READ, BIG_WRITE, BOUNCED, GLANCING, HUGE_READ, IN_PLACE, LARGE,
                   MEMCPY, MIXED_32, POINTS, POLLING, READ_1, READ_32, SLEEPING, SMALL, WRITE_1,
                   WRITE_32, Setup, setups)

DEPTH_1 = (READ_1, WRITE_1)
DEPTH_32 = (READ_32, WRITE_32, MIXED_32)


class Target(NamedTuple):
    """`setup` has to reach `least` times the best of `to`, at each of the points."""

    what: str
    setup: Setup
    to: tuple
    least: float
    points: tuple


class Verdict(NamedTuple):
    """`ratios`: (point, ratio) where it was measured. `met`: everywhere; None: nowhere measured."""

    target: Target
    ratios: tuple

    @property
    def missed(self):
        return [point for point, ratio in self.ratios if ratio < self.target.least]

    @property
    def met(self):
        return not self.missed if self.ratios else None

    def to_json(self):
        return {"setup": self.target.setup.name, "what": self.target.what,
                "least": self.target.least, "met": self.met,
                "measured": {point.name: ratio for point, ratio in self.ratios}}


def airlock(data, how=IN_PLACE, waits=POLLING):
    """One of our setups. They are told apart by these; the guard has no target."""
    return next(setup for setup in setups() if not setup.guarded and
                setup[:4] == ("airlock", data, how, waits))


def qemu(data, *waits):
    """Every qemu-storage-daemon over such data that waits in one of these ways."""
    return tuple(setup for setup in setups()
                 if setup.who == "qemu" and setup.data == data and setup.waits in waits)


def memcpy():
    return tuple(setup for setup in setups() if setup.how == MEMCPY)


def targets():
    """All that these numbers decide."""
    yield from _transport()
    yield from _data()
    yield from _waiting()


def _transport():
    yield Target("5 times qemu-storage-daemon's null-co",
                 airlock("null"), qemu("null", POLLING, SLEEPING), 5, (READ_1, READ_32))
    yield Target("half of in place", airlock("null", BOUNCED),
                 (airlock("null"),), 0.5, (READ_1, READ_32))


def _data():
    yield Target("0.8 of a plain memcpy loop", airlock("memory"), memcpy(), 0.8,
                 (BIG_READ, BIG_WRITE, HUGE_READ))
    yield Target("1.0 million IOPS where a memcpy loop gives 1.1 million",
                 airlock("memory"), memcpy(), 1.0 / 1.1, (READ_32, WRITE_32))
    rival = qemu("file", POLLING, SLEEPING)
    for least, points in ((2, DEPTH_1), (1.5, DEPTH_32), (1, LARGE)):
        yield Target(f"{least} times the best of qemu-storage-daemon on the same file",
                     airlock("file"), rival, least, points)
    for least, points in ((0.9, SMALL), (0.8, (HUGE_READ,))):
        yield Target(f"{least} of in place", airlock("file", BOUNCED), (airlock("file"),), least,
                     points)


def _waiting():
    for data in ("null", "file"):
        for how in (IN_PLACE, BOUNCED):
            yield Target("not slower than qemu-storage-daemon with interrupts",
                         airlock(data, how, SLEEPING), qemu(data, SLEEPING), 1, POINTS)
        yield Target("not slower than qemu-storage-daemon with interrupts",
                     airlock(data, waits=GLANCING), qemu(data, SLEEPING), 1, POINTS)
    for data in ("null", "memory", "file"):
        yield Target("within 10 % of polling",
                     airlock(data, waits=ADAPTIVE), (airlock(data),), 0.9, DEPTH_32)


def judge(results):
    """A verdict for each target."""
    for target in targets():
        ratios = ((point, results.ratio(target.setup, target.to, point))
                  for point in target.points)
        yield Verdict(target, tuple(pair for pair in ratios if pair[1] is not None))
