# SPDX-License-Identifier: Apache-2.0
"""What memory a device costs, by the kernel's own count. For root: a device in its sandbox shows
its memory to nobody else."""

import os
import pathlib
import re
from typing import NamedTuple

import harness

REGION = "airlock-region"
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")


class Memory(NamedTuple):
    """Bytes of a device's processes; but the region's, which are as many as the driver touched."""

    private: int  # that no other process has
    fair: int  # those, and its part of what several share: programs and libraries
    tables: int  # the kernel's page tables for it
    region: int  # of the region, which exist


def of_device(pid):
    """The sum over the device's process and those that it has started."""
    private = fair = tables = 0
    for one in harness.family(pid):
        counts = _mapped(one)
        private += counts["Private_Clean"] + counts["Private_Dirty"]
        fair += counts["Pss"]
        tables += _status(one, "VmPTE")
    return Memory(private << 10, fair << 10, tables << 10, _region_bytes(pid))


def available():
    """What the whole machine could still give, in bytes: with what the kernel has for devices."""
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"^MemAvailable:\s*(\d+) kB$", text, re.MULTILINE)[1]) << 10


def threads(pid):
    return sum(_status(one, "Threads") for one in harness.family(pid))


def _mapped(pid):
    """KiB of all mappings but the region's."""
    sums = dict.fromkeys(("Private_Clean", "Private_Dirty", "Pss"), 0)
    counted = True
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if MAPPING.match(line):
            counted = REGION not in line
        elif counted and name in sums:
            sums[name] += int(rest.split()[0])
    return sums


def _status(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)[1])


def _region_bytes(pid):
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if REGION in os.readlink(entry):
            return entry.stat().st_blocks * 512
    return 0  # a client has gone, and the next has not come
