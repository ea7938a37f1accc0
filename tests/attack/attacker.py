# SPDX-License-Identifier: Apache-2.0
"""The hostile device process, and the guard in front of it."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import harness

sys.path.insert(0, str(harness.REPO / "lab"))
from airlock_lab import machine  # noqa: E402  (of the lab)

HOSTILE = os.environ.get("AIRLOCK_HOSTILE_VFIO_USER",
                         harness.REPO / "build/debug/bin/tests/hostile_vfio_user")
SECONDS = 20


def start(log, *command):
    """A process that ends with us, whatever happens."""
    with open(log, "w") as file:
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)],
                                stdin=subprocess.DEVNULL, stdout=file, stderr=file)


def stop(process):
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)  # it may be stopped
    process.kill()
    process.wait()


class Attacker:
    """One hostile_vfio_user process. Use as a context manager, or let a guard start command() and
    connect() then."""

    def __init__(self, directory, *options):
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "device.sock"
        self.control = self.directory / "control.sock"
        self.log = self.directory / "device.log"
        self.options = options
        self.process = self._connection = self._file = None

    def command(self, device_socket):
        return [HOSTILE, "--socket", device_socket, "--control", self.control, *self.options]

    def __enter__(self):
        self.process = start(self.log, *self.command(self.socket))
        try:
            self.connect()
        except BaseException:
            stop(self.process)
            raise
        return self

    def connect(self):
        machine.wait_for_listeners([str(self.control)], SECONDS)
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(SECONDS)
        self._connection.connect(str(self.control))
        self._file = self._connection.makefile("rw")

    def close(self):
        if self._file:
            self._file.close()
            self._connection.close()

    def __exit__(self, *_):
        stop(self.process)
        self.close()

    def order(self, *words, may_die=False):
        """What came of an attack, by the attacker's own words; `died` where it came to its end."""
        self._file.write(" ".join(map(str, words)) + "\n")
        self._file.flush()
        try:
            answer = self._file.readline()
        except ConnectionResetError:
            answer = ""
        if not answer and may_die:
            return {"died": self._ended_by()}
        if not answer:
            raise AssertionError(f"the attacker died of {words}")
        if answer.startswith("unknown"):
            raise AssertionError(f"the attacker knows no {words}")
        return dict(word.split("=", 1) for word in answer.split() if "=" in word)

    def _ended_by(self):
        if self.process is None:
            return "its sandbox"
        status = self.process.wait(SECONDS)
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def signal(self, number):
        self.process.send_signal(number)


class Guard:
    """`airlock guard` between a device's socket and its own. Use as a context manager."""

    def __init__(self, directory, *device):
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "guard.sock"
        self.audit_file = self.directory / "audit.json"
        self.log = self.directory / "guard.log"
        self.device = device

    def __enter__(self):
        self.process = start(self.log, harness.AIRLOCK, "guard", "--listen", self.socket,
                             *self.device, "--audit", self.audit_file)
        try:
            machine.wait_for_listeners([str(self.socket)], SECONDS)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, *_):
        stop(self.process)

    def audit(self):
        """The records so far."""
        if not self.audit_file.exists():
            return []
        lines = self.audit_file.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]
