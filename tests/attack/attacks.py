# SPDX-License-Identifier: Apache-2.0
"""The table of attacks: what is tried, with which memory, whether it succeeds against a QEMU that
talks to the device directly, and what the guard's audit has to say of it. Against the guard none
may succeed."""

import collections

import attempts
import victim

ALL = tuple(victim.MEMORIES)
PLAIN = ("anonymous",)
SHARED = ("memfd, shared", "ram, shared", "hot-added memfd")  # their fds lead to the guest's bytes
WITH_FD = (*SHARED, "file, private")
MEMFD = ("memfd, shared",)

# What the audit has to have: a record of that message, with that in its reason. A string instead
# says why there is nothing that it could name.
Record = collections.namedtuple("Record", "message reason")
DMA_READ = Record("DMA_READ", "no guest memory")
DMA_WRITE = Record("DMA_WRITE", "no guest memory")
FILE_CLOSED = Record("DMA_MAP", "its file closed")
NO_FILE = Record("DMA_MAP", "no file")
FAILED = Record("device", "malformed message")
LATE = Record("REGION_READ", "the device is late")
NO_DEVICE = Record("device", "the peer closed the connection")
UNSEALED = Record("DEVICE_GET_REGION_INFO", "no memfd sealed")
WRONG_SIZE = Record("DEVICE_GET_REGION_INFO", "not exactly the region")
STOLEN = Record("DMA_MAP", "the device has this file")
STORM = "`interrupt withheld`, above 50,000 a second"
UNKNOWN = Record("command 30583", "no such command")
NOTHING_WRONG = "nothing: that is allowed"
OWN_EVENTFD = "nothing: it is the guard's own eventfd"
NO_ERROR_IRQ = "nothing: the device is asked for no such interrupt"
ALWAYS_ASKS = "nothing: the guard asks for an answer to every write"
OWN_VERSION = "nothing: the VM gets the guard's own VERSION"
BESIDE = "nothing: it does not pass the guard"

# name: of the row. channel: the test that it is part of. attempt: of attempts.py. without, guarded:
# the memories of VMs that fall for it without and with the guard. memories: those that it is tried
# with. audit: a Record, or one for each memory, or a string. options: of the attacker. first:
# orders to it before QEMU comes. shares: it leaves the VM as it was, so that the next one may use
# it.
Attack = collections.namedtuple(
    "Attack", "name channel attempt without audit guarded memories options first shares",
    defaults=((), PLAIN, (), (), False))


def memory(name, attempt, without, audit):
    return Attack(name, "memory", attempt, without, audit, memories=ALL, shares=True)


def mapped(name, attempt, without):
    audit = {kind: FILE_CLOSED if kind in WITH_FD else NO_FILE for kind in ALL}
    return memory(name, attempt, without, audit)


def reply(name, order, without=PLAIN, audit=FAILED):
    return Attack(name, "replies", attempts.lies(order), without, audit)


def region(name, *first, attempt=attempts.takes_away, audit=UNSEALED):
    return Attack(name, "regions", attempt, PLAIN, audit, first=first)


def aliased(name, order, audit):
    """The BAR is as large as all of the guest's memory."""
    return Attack(name, "regions", attempts.shows_memory, MEMFD, audit, memories=MEMFD,
                  options=("--region", str(victim.RAM_BYTES)), first=(order,))


def neighbours():
    """What a process of the same user may do, unless the guard that starts it leaves it alone."""
    for name, order, kinds in (("/proc/PID/mem", "proc-mem", PLAIN), ("ptrace", "ptrace", PLAIN),
                               ("process_vm_readv", "vm-readv", PLAIN),
                               ("/proc/PID/fd", "proc-fd", MEMFD),
                               ("pidfd_getfd", "pidfd-getfd", MEMFD)):
        attempt = attempts.as_neighbour(order)
        yield Attack(name, "process", attempt, kinds, BESIDE, memories=kinds)
        yield Attack(f"{name}, from the sandbox of `airlock serve`", "process",
                     attempts.locked_in(attempt), (), BESIDE, memories=kinds)


ATTACKS = [
    mapped("map the descriptors of DMA_MAP, search them", attempts.reads("map-read"), SHARED),
    mapped("map the descriptors of DMA_MAP, write there", attempts.writes("map-write"), WITH_FD),
    memory("DMA_READ, bus mastering off", attempts.master(attempts.reads("dma-read"), False), (),
           DMA_READ),
    memory("DMA_WRITE, bus mastering off", attempts.master(attempts.writes("dma-write"), False),
           (), DMA_WRITE),
    memory("DMA_READ, bus mastering on", attempts.master(attempts.reads("dma-read"), True), ALL,
           DMA_READ),
    memory("DMA_WRITE, bus mastering on", attempts.master(attempts.writes("dma-write"), True), ALL,
           DMA_WRITE),

    reply("a reply longer than asked for", "reply-oversized"),
    reply("a reply whose header promises 4 GiB", "reply-endless"),
    reply("a reply whose header is 3 bytes long", "reply-too-small"),
    reply("a reply without its data", "reply-without-data", without=()),
    reply("a reply that says it has more data than asked for", "reply-wrong-count", without=()),
    reply("a reply to another id", "reply-wrong-id"),
    reply("a reply of another command", "reply-wrong-command", without=()),
    reply("a reply in two pieces", "reply-in-pieces", without=(), audit=NOTHING_WRONG),
    reply("the first half of a reply", "reply-half", audit=LATE),
    reply("the end of the connection, instead of a reply", "reply-hang-up", audit=NO_DEVICE),
    reply("a reply twice", "reply-twice"),
    reply("a reply that nobody asked for", "reply-unasked"),
    reply("a descriptor on a reply that has none", "fd-unwanted"),
    Attack("a reply 6 s late", "replies", attempts.late, PLAIN, LATE),
    Attack("a reply to a write that wants none", "replies", attempts.answers_posted, PLAIN,
           ALWAYS_ASKS, options=("--posted",)),
    Attack("a VERSION of 4 KiB", "replies", attempts.greets_wrongly, (), OWN_VERSION,
           first=("version-oversized",)),
    Attack("two descriptors for a region", "replies", attempts.greets_wrongly, PLAIN, FAILED,
           first=("fds-two",)),

    region("a region that is not sealed, and shrinks", "region-unsealed"),
    region("a region that is sealed against growing only", "region-half-sealed"),
    region("a region that is a file, and shrinks", "region-file {directory}/region"),
    region("a region that is smaller than its BAR", "region-small",
           attempt=attempts.touches_the_end, audit=WRONG_SIZE),
    region("a region that is /dev/zero", "region-node /dev/zero", attempt=attempts.maps_node),
    aliased("a region that is memory which the VMM offered", "region-offered-memory", FILE_CLOSED),
    aliased("a region that is the VMM's memory, by way of /proc/PID/fd",
            "region-stolen-memory {directory}", STOLEN),

    Attack("an interrupt without end", "interrupts", attempts.storms, (), STORM),
    Attack("an interrupt's descriptor made blocking, and emptied", "interrupts",
           attempts.sleeps_in_read("0"), PLAIN, OWN_EVENTFD),
    Attack("the error interrupt's descriptor likewise", "interrupts",
           attempts.sleeps_in_read("error"), PLAIN, NO_ERROR_IRQ),
    Attack("an interrupt's counter filled", "interrupts", attempts.fills, (), OWN_EVENTFD),
    Attack("the error interrupt", "interrupts", attempts.stops_vm, PLAIN, NO_ERROR_IRQ),

    Attack("the device hangs", "silence", attempts.hangs, PLAIN, LATE),
    Attack("the device dies", "silence", attempts.dies, PLAIN, NO_DEVICE),
    Attack("a flood of unknown commands, answers unread", "silence", attempts.floods_unknown,
           PLAIN, UNKNOWN),
    Attack("a flood of DMA_READ, answers unread", "silence", attempts.floods_with_reads, PLAIN,
           DMA_READ),

    *neighbours(),
]
CHANNELS = tuple(dict.fromkeys(attack.channel for attack in ATTACKS))
