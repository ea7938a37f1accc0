# SPDX-License-Identifier: Apache-2.0
"""A VM to attack: QEMU without a guest, whose memory and registers a test reads and writes by the
qtest protocol, as a guest would. Starts in less than a second."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import threading
import time

import harness
import qmp

SLOT = 5
RAM_BYTES = 64 << 20
SECRET_AT = 0x2000000  # of the guest's memory; a page of its own, as all that follow
TARGET_AT = 0x2800000  # what an attacker wants to write to; nobody has touched it
SIGNAL_AT = 0x3000000  # where the device's interrupts arrive
SIGNAL_DATA = 0x5157A11E
REGISTERS_BAR = 0xE0000000
MSIX_BAR = 0xE0010000
REGION_BAR = 0xE8000000
DEVICE_CONFIG = REGISTERS_BAR + 0x2000  # of the disk: its capacity
CAPACITY = 2048  # sectors of the hostile disk
MEMORY, MASTER = 2, 4  # bits of PCI's command register
LONG = 60  # seconds, after which a machine is broken and not busy

# How a VM has its memory, and whether that has a file that QEMU hands out.
MEMORIES = {
    "anonymous": None,
    "memfd, shared": "memory-backend-memfd,share=on",
    "file, private": "memory-backend-file,share=off,mem-path={directory}/ram",
    "ram, shared": "memory-backend-ram,share=on",
    "hot-added memfd": None,
}


class Qtest:
    """QEMU's end of the qtest protocol. Every command has an answer, which may be waited for
    later."""

    def __init__(self, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connection = None
        self._buffer = b""

    def accept(self, process):
        """Waits for QEMU; False: it ended first."""
        self._listener.settimeout(0.05)
        deadline = time.monotonic() + LONG
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                self._connection = self._listener.accept()[0]
                return True
            if process.poll() is not None:
                return False
        raise AssertionError("QEMU did not connect to its qtest socket")

    def post(self, line):
        self._connection.sendall(line.encode() + b"\n")

    def answer(self, timeout=LONG):
        """The next answer; None: there was none in time, or QEMU died."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._connection.recv(65536)
            except (TimeoutError, ConnectionError):
                return None
            if not part:
                return None
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        if not line.startswith(b"OK"):
            raise AssertionError(f"qtest: {line}")
        return line[3:].decode()

    def ask(self, line, timeout=LONG):
        self.post(line)
        return self.answer(timeout)

    def close(self):
        if self._connection:
            self._connection.close()
        self._listener.close()


class Watch:
    """How long QEMU takes to answer `query-status`, again and again, in milliseconds. What this
    machine itself loses by being busy is measured beside it, and taken off."""

    def __init__(self, path):
        self._qmp = qmp.Qmp(path)
        self._stop = threading.Event()
        self._asked = None
        self._worst = self._jitter = 0.0
        self._threads = [threading.Thread(target=work, daemon=True)
                         for work in (self._ask, self._sleep)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._final = self.worst()
        self._stop.set()
        # A query that is never answered keeps the other thread, until QEMU ends.
        self._threads[1].join()

    def _ask(self):
        with contextlib.suppress(EOFError, OSError, ValueError), self._qmp:
            while not self._stop.is_set():
                self._asked = time.monotonic()
                self._qmp.command("query-status")
                self._worst = max(self._worst, time.monotonic() - self._asked)
                self._asked = None
                self._stop.wait(0.005)

    def _sleep(self):
        while not self._stop.is_set():
            before = time.monotonic()
            self._stop.wait(0.005)
            self._jitter = max(self._jitter, time.monotonic() - before - 0.005)

    def worst(self):
        """The longest answer so far, one that is outstanding included."""
        asked = self._asked
        pending = time.monotonic() - asked if asked is not None else 0.0
        return round(1000 * max(0.0, max(self._worst, pending) - self._jitter))

    def until(self, milliseconds, seconds):
        """Waits until an answer has taken that long, or for that time. Whether it did."""
        deadline = time.monotonic() + seconds
        while self.worst() < milliseconds and time.monotonic() < deadline:
            self._stop.wait(0.02)
        return self.worst() >= milliseconds

    @property
    def result(self):
        return self._final


class Victim:
    """One QEMU with the device behind `device_socket`. Use as a context manager; `started` is
    False where QEMU did not like the device."""

    def __init__(self, directory, device_socket, memory="anonymous"):
        self.directory = pathlib.Path(directory)
        self.memory = memory
        self.log = self.directory / "qemu.log"
        self.secret_at = SECRET_AT
        self.target_at = TARGET_AT
        self.qmp = None
        self._device_socket = device_socket

    def __enter__(self):
        self.qtest = Qtest(self.directory / "qtest.sock")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", harness.REPO / "lab/trixie",
                 "qemu-system-x86_64", *self._arguments()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        since = time.monotonic()
        try:
            self.started = self.qtest.accept(self.process)
            self.start_seconds = time.monotonic() - since
            if self.started:
                self.qmp = qmp.Qmp(self.directory / "qmp.sock")
                self._add_memory()
        except (EOFError, ConnectionError):
            self.process.wait(LONG)
            self.start_seconds = time.monotonic() - since
            self.started = False
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.qtest.close()
        if self.qmp:
            self.qmp.__exit__()

    def _arguments(self):
        machine, memory = "q35", ["-m", str(RAM_BYTES >> 20)]
        backend = MEMORIES[self.memory]
        if backend:
            backend = backend.format(directory=self.directory)
            memory += ["-object", f"{backend},id=ram,size={RAM_BYTES >> 20}M"]
            machine += ",memory-backend=ram"
        if self.memory == "hot-added memfd":
            memory = ["-m", f"{RAM_BYTES >> 20}M,slots=2,maxmem=1G"]
        device = {"driver": "vfio-user-pci", "id": "vu0", "addr": f"{SLOT:02x}.0",
                  "socket": {"type": "unix", "path": str(self._device_socket)}}
        sockets = [word for name in ("qmp", "watch")
                   for word in ("-qmp", f"unix:{self.directory}/{name}.sock,server=on,wait=off")]
        return ["-nodefaults", "-no-user-config", "-display", "none", "-accel", "qtest",
                "-machine", machine, *memory, *sockets,
                "-qtest", f"unix:{self.directory}/qtest.sock", "-qtest-log", "none",
                "-device", json.dumps(device)]

    def _add_memory(self):
        """Memory that is plugged in while the VM runs; the secret is then in there."""
        if self.memory != "hot-added memfd":
            return
        self.qmp.command("object-add", {"qom-type": "memory-backend-memfd", "id": "more",
                                        "size": RAM_BYTES, "share": True})
        self.qmp.command("device_add", {"driver": "pc-dimm", "id": "dimm", "memdev": "more"})
        added = self.qmp.command("query-memory-devices")[0]["data"]["addr"]
        self.secret_at = added + SECRET_AT
        self.target_at = added + TARGET_AT

    def watch(self):
        return Watch(self.directory / "watch.sock")

    def memory_bytes(self):
        """What QEMU has in memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) << 10

    def ended_by(self):
        """The signal that QEMU died of; None: it lives, or ended by itself."""
        status = self.process.poll()
        return signal.Signals(-status).name if status is not None and status < 0 else None

    def dies(self, timeout):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        return self.ended_by()

    # What a guest does.

    def write(self, address, data):
        self.qtest.ask(f"write {address:#x} {len(data)} 0x{data.hex()}")

    def read(self, address, count):
        answer = self.qtest.ask(f"read {address:#x} {count}")
        return bytes.fromhex(answer[2:]) if answer else None

    def read_register(self, address=DEVICE_CONFIG, timeout=LONG):
        """32 bits; None: no answer in time."""
        answer = self.qtest.ask(f"readl {address:#x}", timeout)
        return int(answer, 16) if answer else None

    def write_register(self, address, value):
        self.qtest.ask(f"writel {address:#x} {value:#x}")

    def config_read(self, offset):
        self.qtest.ask(f"outl 0xcf8 {0x80000000 | SLOT << 11 | offset:#x}")
        return int(self.qtest.ask("inl 0xcfc"), 16)

    def config_write(self, offset, value):
        self.qtest.ask(f"outl 0xcf8 {0x80000000 | SLOT << 11 | offset:#x}")
        self.qtest.ask(f"outl 0xcfc {value:#x}")

    def enable(self, master=True):
        """Places the BARs and turns memory decoding on, and bus mastering if wanted, as firmware
        and every driver do."""
        for offset, address in ((0x10, REGISTERS_BAR), (0x14, MSIX_BAR), (0x18, REGION_BAR),
                                (0x1C, 0)):
            self.config_write(offset, address)
        self.config_write(4, MEMORY | (MASTER if master else 0))

    def enable_interrupt(self):
        """Vector 0 of MSI-X: it writes SIGNAL_DATA to SIGNAL_AT."""
        at = self.config_read(0x34) & 0xFC
        while at and self.config_read(at) & 0xFF != 0x11:
            at = self.config_read(at) >> 8 & 0xFC
        table = MSIX_BAR + (self.config_read(at + 4) & ~7)
        self.config_write(at, self.config_read(at) | 1 << 31)
        for offset, value in ((0, SIGNAL_AT), (4, 0), (8, SIGNAL_DATA), (12, 0)):
            self.write_register(table + offset, value)

    def interrupted(self, timeout=5):
        """Whether an interrupt arrives; it is taken back then."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.read_register(SIGNAL_AT) == SIGNAL_DATA:
                self.write_register(SIGNAL_AT, 0)
                return True
            time.sleep(0.005)
        return False

    def wakeups(self, seconds):
        """How often QEMU's main thread stopped waiting for something, over that time."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status")

        def count():
            return int(status.read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])
        before = count()
        time.sleep(seconds)  # the observation window
        return (count() - before) / seconds
