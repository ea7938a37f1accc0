# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured: started when they are first needed, ended at the end."""

import pathlib
import sys

from . import machine
from .plan import ADAPTIVE, GLANCING, POLLING, SLEEPING

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(PROJECT / "tests"))
import harness  # noqa: E402  (the tests' device processes)

DISK_BYTES = 1 << 30
REGION = "64M"
# Longer than any pause within a run, whatever comes of it.
POLL_ALWAYS = ("--poll-max", "1s", "--poll-cpu", "100%")
POLL_NEVER = ("--poll-max", "0us")
POLL_BRIEFLY = ("--poll-max", "5us")
TRIXIE = PROJECT / "lab/trixie"


class QemuStorage(harness.Process):
    """qemu-storage-daemon of the lab with one vhost-user-blk export."""

    READY = '"QMP"'  # its monitor's greeting, which it sends once all it serves is there

    def __init__(self, socket, blockdev, poll_ns):
        self.socket = socket
        super().__init__(
            TRIXIE, "qemu-storage-daemon", "--object", f"iothread,id=io,poll-max-ns={poll_ns}",
            "--blockdev", f"node-name=disk,{blockdev}",
            "--export", "type=vhost-user-blk,id=export,node-name=disk,writable=on,iothread=io,"
            f"num-queues=1,addr.type=unix,addr.path={socket}",
            "--chardev", "file,id=log,path=/dev/fd/2", "--monitor", "log")


class Servers:
    """One server for each kind of it that a setup asks for. A context: all are ended with it. Only
    one at a time has the file, since all of them lock it.

    `directory`: for sockets; `image`: the file that all of them serve; `cpu`: where they run."""

    def __init__(self, directory, image, cpu, disk_bytes=DISK_BYTES):
        self._directory = pathlib.Path(directory)
        self._image = image
        self._cpu = cpu
        self._disk_bytes = disk_bytes
        self._running = {}
        self._started = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop(lambda key: True)

    def get(self, setup):
        """The server of a setup, or None if it has none."""
        if setup.who == "direct":
            return None
        # Whose buffers they are is the client's affair.
        key = (setup.who, setup.data, setup.waits, setup.guarded,
               setup.how if setup.who == "qemu" else None)
        if key not in self._running:
            if setup.data == "file":
                self._stop(lambda key: key[1] == "file")
            start = self._start_qemu if setup.who == "qemu" else self._start_airlock
            self._started += 1
            self._running[key] = start(setup, f"server{self._started}")
        return self._running[key]

    def drop(self, server):
        """It did not do what it was asked: the next who needs it gets a new one."""
        self._stop(lambda key: self._running[key] is server)

    def _stop(self, chosen):
        for key in [key for key in self._running if chosen(key)]:
            self._running.pop(key).stop()

    def _start_airlock(self, setup, name):
        backend = f"file:{self._image}" if setup.data == "file" else \
            f"{setup.data}:{self._disk_bytes}"
        device = harness.Device(
            "blk", "--backend", backend, "--region", REGION, *airlock_waits(setup),
            directory=self._directory, name=name, prefix=("taskset", "-c", self._cpu),
            guard="bounce" if setup.guarded else None)
        device.__enter__()
        try:
            if setup.guarded:
                machine.pin(device.guard.pid, self._cpu)
            if setup.data == "memory":
                # Memory that was never written to is one page of zeros, and in the cache.
                harness.airlock("blk", "write", "--device", f"vfio-user:{device.socket}",
                                "--input", self._image)
        except BaseException:
            device.stop()
            raise
        return device

    def _start_qemu(self, setup, name):
        blockdev = f"driver=null-co,size={self._disk_bytes},read-zeroes=off"
        if setup.data == "file":
            blockdev = f"driver=file,filename={self._image},aio={setup.how}"
        polls = setup.waits == POLLING
        server = QemuStorage(self._directory / f"{name}.sock", blockdev, 10**9 if polls else 0)
        server.__enter__()
        # Threads that work for others that sleep would only wait for them on one processor.
        if setup.how != "threads" or polls:
            machine.pin(server.pid, self._cpu)
        return server


def airlock_waits(setup):
    """The options of our device, and of our driver, for the way in which a setup waits."""
    return {POLLING: POLL_ALWAYS, SLEEPING: POLL_NEVER, GLANCING: POLL_BRIEFLY,
            ADAPTIVE: ()}[setup.waits]


def pids_of(server):
    """Of all processes that a server is made of."""
    guard = getattr(server, "guard", None)
    return [server.pid, *([guard.pid] if guard else [])]
