# SPDX-License-Identifier: Apache-2.0
"""Devices at rest, each with a driver of ours that has used it and does not any more."""

import contextlib
import json
import pathlib
import signal
import socket
import struct
import subprocess
import threading
import time

import harness

IMAGE_BYTES = 64 << 20
GIVEN_UP_AFTER = 30  # seconds
WORK_NS = 20_000_000  # of a device, until all of its queues have been used

# vfio-user: a message's header; what asks for the first register; VIRTIO 1.3, 4.1.2.
HEADER = struct.Struct("<HHIII")
VERSION, REGION_READ, CONFIG_SPACE, VIRTIO_VENDOR = 1, 9, 7, 0x1AF4


class Device:
    """One `airlock serve blk` process over a file of its own."""

    def __init__(self, directory, name, *arguments):
        image = pathlib.Path(directory) / f"{name}.img"
        with open(image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        self.socket = str(pathlib.Path(directory) / f"{name}.sock")
        self._words = [str(harness.AIRLOCK), "--quiet", "serve", "blk", "--socket", self.socket,
                       "--backend", f"file:{image}", *map(str, arguments)]
        self.listening_ms = self.register_ms = self.cpu_ns = None
        self._start()

    def _start(self):
        begin = time.perf_counter()
        self.process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(GIVEN_UP_AFTER)
            self._connect(client, begin + GIVEN_UP_AFTER)
            self.listening_ms = (time.perf_counter() - begin) * 1000
            _read_vendor(client)
            self.register_ms = (time.perf_counter() - begin) * 1000
        self.cpu_ns = harness.cpu_ns(self.pid)

    def _connect(self, client, deadline):
        while True:
            try:
                return client.connect(self.socket)
            except OSError:
                if self.process.poll() is not None or time.perf_counter() > deadline:
                    raise RuntimeError(f"{' '.join(self._words)}: it does not serve") from None
                time.sleep(0.0001)

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        self.process.terminate()

    def wait(self):
        self.process.wait(GIVEN_UP_AFTER)


class Driver:
    """One that has used all queues of the disk, and is stopped in the midst of it: what the device
    then has is all that it needed."""

    DEPTH = 32

    def __init__(self, device, queues=1, queue_size=256):
        self._device = device
        self.process = subprocess.Popen(
            [str(harness.AIRLOCK), "blk", "bench", "--device", f"vfio-user:{device.socket}",
             "--numjobs", str(queues), "--queue-size", str(queue_size), "--iodepth",
             str(self.DEPTH), "--runtime", "60m"],
            # Of its own session: the end of another's would have the kernel continue it.
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)

    def come_to_rest(self):
        while harness.cpu_ns(self._device.pid) < self._device.cpu_ns + WORK_NS:
            if self.process.poll() is not None:
                raise RuntimeError("a driver has ended: its device does not work")
            threading.Event().wait(0.001)
        self.process.send_signal(signal.SIGSTOP)

    def end(self):
        self.process.kill()
        self.process.wait()


def _receive(client, size):
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise RuntimeError("the device has hung up")
        data += part
    return data


def _ask(client, number, command, payload):
    client.sendall(HEADER.pack(number, command, HEADER.size + len(payload), 0, 0) + payload)
    _, _, size, _, error = HEADER.unpack(_receive(client, HEADER.size))
    if error:
        raise RuntimeError(f"the device refuses message {command}: error {error}")
    return _receive(client, size - HEADER.size)


def _read_vendor(client):
    """The first register that any driver reads."""
    _ask(client, 0, VERSION, struct.pack("<HH", 0, 0) + json.dumps({"capabilities": {}}).encode()
         + b"\0")
    answer = _ask(client, 1, REGION_READ, struct.pack("<QII", 0, CONFIG_SPACE, 2))
    if struct.unpack("<H", answer[-2:])[0] != VIRTIO_VENDOR:
        raise RuntimeError(f"that is no virtio device: {answer.hex()}")


@contextlib.contextmanager
def ended(processes):
    """Ends all of a list, which may still grow, at the end."""
    try:
        yield processes
    finally:
        for process in processes:
            process.end()
        for process in processes:
            if isinstance(process, Device):
                process.wait()
