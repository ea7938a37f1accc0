# SPDX-License-Identifier: Apache-2.0
"""What memory does a device process share with its VMM? Read from /proc, by root, or the user
that both run as where the device has no sandbox. `audit.py PID` prints it as JSON.

Method. Guest RAM is part of the VMM's address space. Another process can reach it only through a
mapping of the same file (a memfd counts) or a descriptor of it. So: take every shared mapping of
the device, find the processes that map the same inode, and see what is common. Private anonymous
memory of the VMM has no file, and can't be in anybody else's maps."""

import json
import os
import pathlib
import re
import sys

REGION = "airlock-region"
URING = "anon_inode:[io_uring]"  # all of them have one inode number, and memory of their own
LINE = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<mode>....) [0-9a-f]+ "
    r"(?P<device>\S+) (?P<inode>\d+)\s*(?P<name>.*)")


def shared_files(pid):
    """(device, inode) -> [bytes mapped, name], of the shared writable mappings of a process."""
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = LINE.match(line)
        if match["mode"][3] != "s" or match["inode"] == "0" or match["name"] == URING:
            continue
        entry = found.setdefault((match["device"], match["inode"]), [0, match["name"]])
        entry[0] += int(match["end"], 16) - int(match["start"], 16)
    return found


def anonymous_bytes(pid):
    """The largest private anonymous mapping: where guest RAM is that has no file."""
    sizes = [0]
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = LINE.match(line)
        if match["mode"][3] == "p" and match["inode"] == "0" and not match["name"]:
            sizes.append(int(match["end"], 16) - int(match["start"], 16))
    return max(sizes)


def memory_fds(pid):
    """Descriptors of a process that lead to memory: memfds and files in /dev/shm."""
    names = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(entry)
        except OSError:
            continue
        if name.startswith(("/memfd:", "/dev/shm/")):
            names.append(name)
    return sorted(names)


def processes():
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]


def audit(device):
    """The report on the device process with this pid, as a dict."""
    mine = shared_files(device)
    region = [key for key, (_, name) in mine.items() if REGION in name]
    report = {"region_bytes": sum(mine[key][0] for key in region), "vmm": None,
              "vmm_largest_private_mapping": 0, "shared_with_vmm": {}, "guest_ram_mapped_bytes": 0,
              "other_shared_mappings": sorted(mine[key][1] for key in mine if key not in region),
              "memory_fds": memory_fds(device)}
    for pid in processes():
        if pid == device:
            continue
        try:
            theirs = shared_files(pid)
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        common = mine.keys() & theirs.keys()
        if not common:
            continue
        report["vmm"] = pid
        report["vmm_largest_private_mapping"] = anonymous_bytes(pid)
        for key in common:
            size, name = mine[key]
            report["shared_with_vmm"][name] = size
            if key not in region:
                report["guest_ram_mapped_bytes"] += size
    return report


if __name__ == "__main__":
    print(json.dumps(audit(int(sys.argv[1])), indent=1))
