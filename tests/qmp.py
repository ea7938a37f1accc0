# SPDX-License-Identifier: Apache-2.0
"""QEMU's own control channel, as far as tests need it. `qmp.py SOCKET COMMAND [JSON]` runs one."""

import json
import socket
import sys
import time

CONNECT_SECONDS = 60


class Qmp:
    """One connection. Events that come with an answer are kept for wait_event()."""

    def __init__(self, path):
        self._socket = _connect(str(path))
        self._file = self._socket.makefile("rw", encoding="utf-8")
        self._events = []
        try:
            self._read()  # the greeting
            self.command("qmp_capabilities")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def _read(self):
        line = self._file.readline()
        if not line:
            raise EOFError("QEMU closed its QMP connection")
        return json.loads(line)

    def command(self, name, arguments=None):
        """What QEMU returns. Raises with its words where it refuses."""
        json.dump({"execute": name, "arguments": arguments or {}}, self._file)
        self._file.write("\n")
        self._file.flush()
        while True:
            message = self._read()
            if "event" in message:
                self._events.append(message["event"])
            elif "error" in message:
                raise RuntimeError(f"{name}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name):
        """Returns once QEMU has told that event; raises EOFError where QEMU ends first."""
        while name not in self._events:
            message = self._read()
            if "event" in message:
                self._events.append(message["event"])
        self._events.remove(name)


def _connect(path):
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def main():
    path, name, *arguments = sys.argv[1:]
    with Qmp(path) as qmp:
        print(qmp.command(name, json.loads(arguments[0]) if arguments else None))


if __name__ == "__main__":
    main()
