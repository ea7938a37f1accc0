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

# name: of the row. channel: the test that it is part of. attempt: of attempts.py. without: the
# memories of VMs that fall for it without the guard. memories: those that it is tried with.
# audit: what a line of the audit, as JSON, has to match; None: the guard leaves nothing to audit,
# since the attempt never reaches it. options: of the attacker. first: orders to it before QEMU
# comes. shares: it leaves the VM as it was, so that the next one may use it.
Attack = collections.namedtuple(
    "Attack", "name channel attempt without memories audit options first shares",
    defaults=(PLAIN, PLAIN, "", (), (), False))

DMA = '"message": ?"DMA_(READ|WRITE)".*'
DMA_MAP = '"message": ?"DMA_MAP"'


def memory(name, attempt, without, audit):
    return Attack(name, "memory", attempt, without, ALL, audit, shares=True)


def lie(name, order, *arguments, without=PLAIN):
    return Attack(name, "replies", attempts.lies(order, *arguments), without, audit="REGION_READ")


ATTACKS = [
    memory("map the descriptors of DMA_MAP, search them", attempts.reads("map-read"), SHARED,
           DMA_MAP),
    memory("map the descriptors of DMA_MAP, write there", attempts.writes("map-write"), WITH_FD,
           DMA_MAP),
    memory("DMA_READ, bus mastering off", attempts.master(attempts.reads("dma-read"), False), (),
           DMA),
    memory("DMA_WRITE, bus mastering off", attempts.master(attempts.writes("dma-write"), False),
           (), DMA),
    memory("DMA_READ, bus mastering on", attempts.master(attempts.reads("dma-read"), True), ALL,
           DMA),
    memory("DMA_WRITE, bus mastering on", attempts.master(attempts.writes("dma-write"), True), ALL,
           DMA),

    lie("a reply longer than asked for", "reply-oversized"),
    lie("a reply whose header promises 4 GiB", "reply-endless"),
    lie("a reply whose header is 3 bytes long", "reply-too-small"),
    lie("a reply without its data", "reply-without-data", without=()),
    lie("a reply with more data than asked for, in its payload", "reply-wrong-count", without=()),
    lie("a reply to another id", "reply-wrong-id"),
    lie("a reply of another command", "reply-wrong-command", without=()),
    lie("a reply in two pieces", "reply-in-pieces", without=())._replace(audit=None),
    lie("the first half of a reply", "reply-half"),
    lie("a reply twice", "reply-twice"),
    lie("a reply that nobody asked for", "reply-unasked"),
    lie("a descriptor on a reply that has none", "fd-unwanted"),
    Attack("a reply 6 s late", "replies", attempts.late, audit="REGION_READ"),
    Attack("a reply to a write that wants none", "replies", attempts.answers_posted,
           audit="REGION_WRITE", options=("--posted",)),
    Attack("a VERSION of 4 KiB", "replies", attempts.greets_wrongly, audit="VERSION",
           first=("version-oversized",)),
    Attack("two descriptors for a region", "replies", attempts.greets_wrongly,
           audit="REGION_INFO", first=("fds-two",)),

    Attack("a region that is not sealed, and shrinks", "regions", attempts.takes_away,
           audit="REGION_INFO", first=("region-unsealed",)),
    Attack("a region that is sealed against growing only", "regions", attempts.takes_away,
           audit="REGION_INFO", first=("region-half-sealed",)),
    Attack("a region that is a file, and shrinks", "regions", attempts.takes_away,
           audit="REGION_INFO", first=("region-file {directory}/region",)),
    Attack("a region that is smaller than its BAR", "regions", attempts.touches_the_end,
           audit="REGION_INFO", first=("region-small",)),
    Attack("a region that is /dev/zero", "regions", attempts.maps_node,
           audit="REGION_INFO", first=("region-node /dev/zero",)),
    Attack("a region that is the VMM's own memory", "regions", attempts.shows_memory,
           ("memfd, shared",), ("memfd, shared",), audit=DMA_MAP,
           options=("--region", str(victim.RAM_BYTES)), first=("region-client-memory",)),

    Attack("an interrupt without end", "interrupts", attempts.storms, (), audit="interrupt"),
    Attack("an interrupt's descriptor made blocking, and emptied", "interrupts",
           attempts.sleeps_in_read("0"), audit=None),
    Attack("the error interrupt's descriptor likewise", "interrupts",
           attempts.sleeps_in_read("error"), audit=None),
    Attack("an interrupt's counter filled", "interrupts", attempts.fills, (), audit=None),
    Attack("the error interrupt", "interrupts", attempts.stops_vm, audit=None),

    Attack("the device hangs", "silence", attempts.hangs, audit="REGION_READ"),
    Attack("the device dies", "silence", attempts.dies, audit="."),
    Attack("a flood of unknown commands, answers unread", "silence",
           attempts.floods_unknown, audit="unknown"),
    Attack("a flood of DMA_READ, answers unread", "silence", attempts.floods_with_reads,
           audit=DMA),

    Attack("/proc/PID/mem", "process", attempts.as_neighbour("proc-mem"), audit=None),
    Attack("/proc/PID/fd", "process", attempts.as_neighbour("proc-fd"), ("memfd, shared",),
           ("memfd, shared",), audit=None),
    Attack("ptrace", "process", attempts.as_neighbour("ptrace"), audit=None),
    Attack("process_vm_readv", "process", attempts.as_neighbour("vm-readv"), audit=None),
    Attack("pidfd_getfd", "process", attempts.as_neighbour("pidfd-getfd"), ("memfd, shared",),
           ("memfd, shared",), audit=None),
]
CHANNELS = tuple(dict.fromkeys(attack.channel for attack in ATTACKS))
