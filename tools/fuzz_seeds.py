#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes fuzz/seeds/NAME/: inputs from which a fuzz target gets far at once.

    python3 tools/fuzz_seeds.py            write what is below
    python3 tools/fuzz_seeds.py --list     the names

They retell unit tests in the order in which the target asks for its numbers, so they go stale when
a target asks otherwise: still legal inputs then, only worse ones.
"""

import argparse
import os
import struct
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "seeds")


class Seed:
    """What FuzzedDataProvider takes apart: bytes from the front, numbers from the end."""

    def __init__(self):
        self._front = b""
        self._numbers = b""  # in the order in which they are asked for

    def bytes(self, data):
        """ConsumeBytes."""
        self._front += data
        return self

    def number(self, value, low, high):
        """ConsumeIntegralInRange(low, high). Raises ValueError unless value is in the range."""
        if not low <= value <= high:
            raise ValueError(f"{value} is not in {low} to {high}")
        count = ((high - low).bit_length() + 7) // 8
        self._numbers += (value - low).to_bytes(count, "big")
        return self

    def integer(self, value, bits):
        """ConsumeIntegral of an unsigned type."""
        return self.number(value, 0, (1 << bits) - 1)

    def boolean(self, value):
        """ConsumeBool."""
        return self.number(int(value), 0, 1)

    def data(self):
        return self._front + self._numbers[::-1]


# --- capability_walk_fuzz ---------------------------------------------------------------------

CAP_VENDOR, CAP_MSIX = 0x09, 0x11
COMMON, NOTIFY, ISR, DEVICE, PCI_CFG, SHARED, SWIOTLB = 1, 2, 3, 4, 5, 8, 10
BAR_SHIFTS = (14, 12, 20, 64, 64, 64)  # 16 KiB of registers, MSI-X, the region; 64: no BAR


def vendor(kind, bar, offset, length, extra=b"", shm_id=0):
    size = 16 + len(extra)
    return (CAP_VENDOR, struct.pack("<BBBBHII", size, kind, bar, shm_id, 0, offset, length) + extra)


def config_space(capabilities, last_link=0):
    """256 bytes with the capabilities from 0x40 on; the last points to `last_link`."""
    space = bytearray(256)
    space[0x06] = 0x10  # status: there is a list
    link, at = 0x34, 0x40
    for kind, body in capabilities:
        space[link] = at
        space[at] = kind
        space[at + 2 : at + 2 + len(body)] = body
        link, at = at + 1, (at + 2 + len(body) + 3) & ~3
    space[link] = last_link
    return bytes(space)


def walk(space):
    seed = Seed().bytes(space).boolean(True).number(1, 0, 15)
    for shift in BAR_SHIFTS:
        seed.number(shift, 0, 64)
    return seed.data()


def capability_walk():
    device = [
        vendor(COMMON, 0, 0, 64),
        vendor(NOTIFY, 0, 0x3000, 0x1000, struct.pack("<I", 4)),
        vendor(ISR, 0, 0x1000, 1),
        vendor(DEVICE, 0, 0x2000, 60),
        vendor(PCI_CFG, 0, 0, 0, bytes(4)),
    ]
    msix = (CAP_MSIX, struct.pack("<HII", 2, 1, 1))
    region = vendor(SWIOTLB, 2, 0, 1 << 20)
    shared = vendor(SHARED, 2, 0, 1 << 20, bytes(8), shm_id=128)
    return {
        "bus": walk(config_space([*device, region, msix])),
        "offset": walk(config_space([*device, shared, msix])),
        "loop": walk(config_space([*device, region], last_link=0x40)),
        "bar-6": walk(config_space([*device, vendor(SWIOTLB, 6, 0, 4096)])),
        "beyond-bar": walk(config_space([*device, vendor(SWIOTLB, 2, 0xFFFFF000, 0x2000)])),
        "half-a-page": walk(config_space([*device, vendor(SWIOTLB, 2, 0, 2048)])),
        "odd-multiplier": walk(config_space([vendor(NOTIFY, 0, 0, 64, struct.pack("<I", 3))])),
    }


# --- virtio_pci_device_fuzz -------------------------------------------------------------------

REQUIRE, PREFER = 0, 1
BUS, OFFSET = 0, 1
NEGOTIATE, ENABLE, DRIVER_OK, NOTIFY_QUEUE, RESET, LIE = 2, 3, 4, 6, 8, 10  # the target's steps


def life(policy, address, steps):
    """A device of `policy`, and a driver that takes the steps: pairs of a step and its numbers."""
    seed = Seed().number(policy, 0, 2).number(address, 0, 1)
    seed.integer(0, 64).number(60, 0, 4096).number(1, 0, 15)
    seed.boolean(False).boolean(True)  # stops at once; the region has its place
    for step, numbers in steps:
        seed.number(step, 0, 11)
        for value, low, high in numbers:
            seed.number(value, low, high)
    return seed.data()


def virtio_pci_device():
    yes, no = (1, 0, 1), (0, 0, 1)
    negotiate = (NEGOTIATE, [yes])
    enable = [(ENABLE, [(queue, 0, 3), no]) for queue in (0, 1)]
    notify = (NOTIFY_QUEUE, [(0, 0, 3)])
    ordinary = [negotiate, *enable, (DRIVER_OK, []), notify]
    nowhere = (0xFFFF_FFFF_FFFF_F000, 0, (1 << 64) - 1)
    bad_areas = (ENABLE, [(0, 0, 3), yes, (256, 0, 0xFFFF), nowhere, nowhere])
    declined = (NEGOTIATE, [no, (1 << 32, 0, (1 << 64) - 1)])
    return {
        "bus": life(REQUIRE, BUS, [*ordinary, (RESET, []), *ordinary]),
        "offset": life(REQUIRE, OFFSET, [*ordinary, (LIE, []), notify, (RESET, []), *ordinary]),
        "declined": life(REQUIRE, BUS, [declined]),
        "declined-hint": life(PREFER, BUS, [declined, *enable, (DRIVER_OK, [])]),
        "areas-outside": life(REQUIRE, BUS, [negotiate, bad_areas, (DRIVER_OK, []), (RESET, [])]),
    }


# --- vfio_user_session_fuzz ---------------------------------------------------------------------


def message(seed, command, payload=(), more=0):
    """One well-formed message; `payload` is (number, bits) of each number in it."""
    seed.number(1, 0, 7)  # the handler answers at once
    seed.integer(7, 16).number(command, 0, 20).number(0, 0, 31).boolean(False)
    for value, bits in payload:
        if value <= 40:
            seed.number(2, 0, 3).number(value, 0, 40)
        else:
            seed.number(0, 0, 3).integer(value, bits)
    seed.number(more, 0, 40).bytes(bytes(more))
    seed.number(0, 0, 31)  # message_size is what it is
    deliver(seed, 2)


def deliver(seed, pieces):
    """A message arrives whole: the header, then the payload."""
    for _ in range(pieces):
        seed.number(0, 0, 31).number(0, 0, 3).number(0, 0, 31)


def session():
    talk = Seed().number(0, 0, 31)
    deliver(talk, 2)  # VERSION
    message(talk, 4, [(0, 32)])  # DEVICE_GET_INFO
    message(talk, 5, [(32, 32), (2, 32)])  # DEVICE_GET_REGION_INFO
    message(talk, 7, [(2, 32)])  # DEVICE_GET_IRQ_INFO
    message(talk, 9, [(0, 64), (7, 32), (4, 32)])  # REGION_READ
    message(talk, 10, [(0, 64), (7, 32), (4, 32)], more=4)  # REGION_WRITE
    dma = Seed().number(0, 0, 31)
    deliver(dma, 2)
    message(dma, 2, [(3, 32), (0, 64), (0x1000_0000, 64), (0x1000, 64)])  # DMA_MAP
    message(dma, 3, [(0, 32), (0x1000_0000, 64), (0x1000, 64)])  # DMA_UNMAP
    message(dma, 13)  # DEVICE_RESET
    return {"registers": talk.data(), "dma": dma.data()}


# --- blk_request_fuzz -------------------------------------------------------------------------

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = range(6)  # places in the target's table


def requests(types):
    seed = Seed().number(4, 1, 4).boolean(False).number(0, 0, 4).number(len(types), 1, 6)
    for kind in types:
        seed.number(0, 0, 31).number(kind, 0, 5)  # a type that exists
        seed.number(0, 0, 31).number(1, 0, 66)  # a sector inside
        readable = 16
        if kind == OUT:
            seed.number(1, 0, 4)
            readable += 512
        elif kind in (DISCARD, WRITE_ZEROES):
            seed.number(1, 0, 4).number(0, 0, 31).number(1, 0, 66).number(8, 0, 70).number(0, 0, 2)
            readable += 16
        seed.number(0, 0, 31)
        seed.number(1 if kind in (IN, GET_ID) else 0, 0, 4).number(0, 0, 31)
        seed.number(readable, 1, readable)  # in one piece
        writable = 513 if kind in (IN, GET_ID) else 1
        seed.number(writable, 1, writable)
    return seed.data()


def blk_request():
    return {
        "read": requests([IN]),
        "write": requests([OUT, OUT]),
        "each": requests([IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES]),
    }


# --- dt_fuzz ----------------------------------------------------------------------------------


class Node:
    """A node of a device tree. A property's value: None, a word, or a list of cells."""

    def __init__(self, name, properties, *children):
        self.name = name
        self.properties = properties
        self.children = children

    def write(self, words):
        """The node as the format has it; property names go to `words`, one string."""
        name = self.name.encode() + b"\0"
        data = struct.pack(">I", 1) + name + bytes(-len(name) % 4)
        for key, value in self.properties.items():
            if value is None:
                value = b""
            elif isinstance(value, str):
                value = value.encode() + b"\0"
            else:
                value = struct.pack(f">{len(value)}I", *value)
            data += struct.pack(">III", 3, len(value), words.index_of(key))
            data += value + bytes(-len(value) % 4)
        for child in self.children:
            data += child.write(words)
        return data + struct.pack(">I", 2)


class Words:
    """The block of a blob that holds the names of properties."""

    def __init__(self):
        self.data = b""

    def index_of(self, word):
        wire = word.encode() + b"\0"
        if wire not in self.data:
            self.data += wire
        return self.data.index(wire)


def device_tree(root):
    words = Words()
    structure = root.write(words) + struct.pack(">I", 9)
    reservations = bytes(16)
    start = 40 + len(reservations)
    end = start + len(structure)
    header = struct.pack(">10I", 0xD00DFEED, end + len(words.data), start, end, 40, 17, 16, 0,
                         len(words.data), len(structure))
    return header + reservations + structure + words.data


def machine(pool=None, device=None, iommu=None):
    """A VM like QEMU's virt: 512 MiB, a disk, a PCI bus; a pool and its user, if there is one."""
    cells = {"#address-cells": [2], "#size-cells": [2]}
    children = [Node("memory@40000000", {"device_type": "memory",
                                         "reg": [0, 0x40000000, 0, 0x20000000]})]
    if pool is not None:
        children.append(Node("reserved-memory", {**cells, "ranges": None},
                             Node("pool@50000000", {"compatible": "restricted-dma-pool",
                                                    "reg": [0, 0x50000000, 0, 0x4000000],
                                                    "phandle": [1], **pool})))
    children.append(Node("iommu@9050000", {"phandle": [2]}))
    children.append(Node("virtio@a000000", {"compatible": "virtio,mmio", **(device or {})}))
    children.append(Node("pcie@10000000", {"device_type": "pci", **(iommu or {})},
                         Node("card@1,0", {})))
    return device_tree(Node("", cells, *children))


def device_trees():
    named = {"memory-region": [1]}
    return {
        "machine": machine(),
        "pool": machine({}, named),
        "no_map": machine({"no-map": None}, named),
        "disabled": machine({"status": "disabled"}, named),
        "iommu": machine({}, named, {"iommu-map": [0, 2, 0, 0x10000]}),
    }


def all_seeds():
    """Target -> name of the seed -> its bytes."""
    return {
        "blk_request_fuzz": blk_request(),
        "capability_walk_fuzz": capability_walk(),
        "dt_fuzz": device_trees(),
        "vfio_user_session_fuzz": session(),
        "virtio_pci_device_fuzz": virtio_pci_device(),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    options = parser.parse_args()
    for target, seeds in all_seeds().items():
        for name, data in seeds.items():
            if options.list:
                print(f"{target}/{name} ({len(data)} bytes)")
                continue
            path = os.path.join(FOLDER, target, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
