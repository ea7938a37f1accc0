# SPDX-License-Identifier: Apache-2.0
"""What is done to a device behind a guard while its guest works. Runs on the host:

  device_ops.py kill DEVICE_SOCKET AUDIT COUNT  kill -9, and again once the next process works
  device_ops.py stop DEVICE_SOCKET QMP SECONDS  SIGSTOP; the worst time that QEMU took to answer"""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import qmp

RESTART_SECONDS = 60


def pid_of(socket):
    """The process that serves the device on this socket."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in words and socket.encode() in words:
            return int(entry.name)
    return None


def restarts(audit):
    """How many processes have taken the place of another, by the guard's account."""
    entries = (json.loads(line) for line in pathlib.Path(audit).read_text().splitlines())
    return sum(entry.get("message") == "device" and entry["decision"] == "forwarded"
               for entry in entries)


def kill_once(socket, audit, number, needed=lambda: True):
    """Kills it for the `number`th time, and waits until another process has taken its place, or
    none is `needed` any more. Whether one has."""
    pid = pid_of(socket)
    if pid:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + RESTART_SECONDS
    while restarts(audit) < number:
        if not needed():
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(f"no process took the place of number {number}")
        threading.Event().wait(0.01)
    return True


def kill(socket, audit, count):
    for number in range(1, count + 1):
        kill_once(socket, audit, number)
        # Some work between two kills: as much as the new process gets to in this time.
        threading.Event().wait(0.05 * (number % 8))
    print(f"killed {count} times")


def stop(socket, path, seconds):
    pid = pid_of(socket)
    worst = 0.0
    with qmp.Qmp(path) as monitor:
        os.kill(pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                asked = time.monotonic()
                monitor.command("query-pci")
                worst = max(worst, time.monotonic() - asked)
                threading.Event().wait(0.02)
        finally:
            os.kill(pid, signal.SIGCONT)
    print(json.dumps({"worst_ms": round(worst * 1000, 1)}))


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        stop(sys.argv[2], sys.argv[3], float(sys.argv[4]))
