# SPDX-License-Identifier: Apache-2.0
"""Plays a driver gone wrong: `spoil_region.py PID FROM_END` makes the addresses in the page of
descriptors that begins FROM_END bytes before the end of the device's region point nowhere."""

import mmap
import os
import pathlib
import signal
import sys

PAGE = 4096
DESCRIPTOR = 16
NOWHERE = b"\xff" * 8


def region_of(pid):
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if "airlock-region" in os.readlink(link):
            return os.open(link, os.O_RDWR)
    raise SystemExit(f"process {pid} has no region")


def main():
    pid, from_end = map(int, sys.argv[1:])
    file = region_of(pid)
    size = os.fstat(file).st_size
    # Stopped, so that what is spoilt has not been read yet where it was made available before.
    os.kill(pid, signal.SIGSTOP)
    try:
        with mmap.mmap(file, size) as region:
            start = size - from_end
            for at in range(start, start + PAGE, DESCRIPTOR):
                region[at:at + len(NOWHERE)] = NOWHERE
    finally:
        os.kill(pid, signal.SIGCONT)
        os.close(file)


if __name__ == "__main__":
    main()
