# SPDX-License-Identifier: Apache-2.0
"""Looks for a byte pattern in everything that a process can read: `memory_scan.py PID HEX` prints
the number of places and exits 0 whether there are any or not; what can't be read is an error."""

import re
import sys

CHUNK = 16 << 20
UNREADABLE = ("[vvar]", "[vvar_vclock]", "[vsyscall]")  # the kernel's, not the process's
LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ \d+\s*(.*)")


def count(pid, pattern):
    """Occurrences of `pattern` in the memory of a process, over all its mappings."""
    found = 0
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, \
            open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps.read().splitlines():
            start, end, mode, name = LINE.match(line).groups()
            if "r" not in mode or name in UNREADABLE:
                continue
            found += count_in_range(memory, int(start, 16), int(end, 16), pattern)
    return found


def count_in_range(memory, at, end, pattern):
    found, tail = 0, b""
    memory.seek(at)
    while at < end:
        block = memory.read(min(CHUNK, end - at))
        if not block:
            raise OSError(f"nothing to read at {at:#x}")
        found += (tail + block).count(pattern)
        tail = block[-(len(pattern) - 1):]
        at += len(block)
    return found


if __name__ == "__main__":
    print(count(int(sys.argv[1]), bytes.fromhex(sys.argv[2])))
