# SPDX-License-Identifier: Apache-2.0
"""The socket device under a stock guest: its own driver, our transport, the host's UNIX sockets.

AIRLOCK_VSOCK_BYTES: how much is echoed each way (8 MiB; without KVM a guest is slow)."""

import hashlib
import os
import pathlib
import random
import socket
import threading
import unittest

import harness
from vm_case import VmTest

BYTES = int(os.environ.get("AIRLOCK_VSOCK_BYTES", 8 << 20))
BLOCK = 1 << 16


def echo(listener, count):
    """What the guest connects to: gives back what it gets, for `count` connections."""
    with listener:
        for _ in range(count):
            peer, _ = listener.accept()
            with peer:
                while block := peer.recv(BLOCK):
                    peer.sendall(block)


class Host:
    """The host's side of a device's sockets at `path`."""

    def __init__(self, path):
        self.path = str(path)
        self.errors = []
        self._threads = []

    def start(self, function, *arguments):
        def run():
            try:
                function(*arguments)
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(repr(error))
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def listen(self, port, kind=socket.SOCK_STREAM, count=1):
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(f"{self.path}_{port}")
        listener.listen(8)
        self.start(echo, listener, count)

    def connect(self, port, kind=socket.SOCK_STREAM):
        """A connection to the guest's port, as soon as something listens there."""
        path = self.path + ("_seqpacket" if kind == socket.SOCK_SEQPACKET else "")
        while True:
            peer = socket.socket(socket.AF_UNIX, kind)
            peer.connect(path)
            peer.sendall(b"CONNECT %d\n" % port)
            answer = b""
            while not answer.endswith(b"\n"):
                some = peer.recv(64 if kind == socket.SOCK_SEQPACKET else 1)
                if not some:
                    break
                answer += some
            if answer.startswith(b"OK "):
                return peer
            peer.close()
            threading.Event().wait(0.2)

    def check(self, port, total, kind=socket.SOCK_STREAM):
        """Sends `total` bytes to the guest's echo, and compares the sums of both ways."""
        peer = self.connect(port, kind)
        blocks = [random.Random(seed).randbytes(BLOCK) for seed in range(16)]
        sums = [hashlib.sha256(), hashlib.sha256()]

        def send():
            for index in range(total // BLOCK):
                block = blocks[index % len(blocks)]
                sums[0].update(block)
                peer.sendall(block)
            peer.shutdown(socket.SHUT_WR)
        self.start(send)
        received = 0
        with peer:
            while block := peer.recv(BLOCK):
                sums[1].update(block)
                received += len(block)
        if received != total or sums[0].digest() != sums[1].digest():
            raise AssertionError(f"{received} of {total} bytes came back, or not the same")

    def join(self):
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.errors.append("a connection is not at its end")


class Echo(VmTest):
    program = pathlib.Path(harness.AIRLOCK).parent / "tests/vm_vsock_guest"

    # Four ways at once: who asked for the connection, and streams and messages.
    def test_echoes_both_ways_and_by_both_types(self):
        uds = self.directory / "host"
        host = Host(uds)
        host.listen(5000)
        host.listen(5001, socket.SOCK_SEQPACKET)
        with harness.Device("vsock", "--uds", uds, directory=self.directory, name="vsock",
                            guard="bounce") as device:
            host.start(host.check, 6000, BYTES)
            host.start(host.check, 6001, BYTES // 8, socket.SOCK_SEQPACKET)
            console = self.boot(device, f"""
vsock serve 6000 1 stream & stream=$!
vsock serve 6001 1 seqpacket & seqpacket=$!
vsock check 5000 {BYTES} stream
vsock check 5001 {BYTES // 8} seqpacket
wait $stream
wait $seqpacket
if vsock check 9999 1 stream; then exit 1; fi
if dmesg | grep -iE 'call trace|airlock.*(refused|in use)'; then exit 1; fi
""", "--program", f"{self.program}:vsock", kernel=os.environ.get("AIRLOCK_KERNEL", "6.12"),
                                timeout=180 + BYTES // 100000)
            host.join()
            self.assertEqual(host.errors, [])
            self.assertIn(f"checked {BYTES} bytes", console)
            self.assertIn(f"checked {BYTES // 8} bytes", console)
            self.assertIn("Connection reset", console)  # of the port where nobody listens
            self.assertEqual(device.stop(), 0)
        stats = device.stats()
        self.assertEqual(stats["connections"], 0)
        self.assertGreaterEqual(stats["bytes_to_host"], 2 * BYTES)
        self.assertEqual((stats["overdrawn"], stats["foreign"], stats["violations"]), (0, 0, 0))
        self.assertTrue(harness.view_is_inside(stats["view"]), stats["view"])


class Forwarding(VmTest):
    """A host whose own AF_VSOCK the device forwards to and from. The VM is that host here, since it
    can be had with the modules for it; its guest is a driver of ours."""

    bin = pathlib.Path(harness.AIRLOCK).parent

    def test_reaches_the_hosts_own_sockets_both_ways(self):
        console = self.boot(None, f"""
modprobe vsock_loopback
start() {{
  mkfifo /run/said.$1
  "$@" >/run/said.$1 &
  read -r line </run/said.$1
}}
airlock serve vsock --socket /run/device --forward-cid 1 --forward-listen 7000 --region 16M &
device=$!
until [ -S /run/device ]; do usleep 10000; done
vsock serve 6000 1 stream & server=$!
until answer=$(vsock_echo vfio-user:/run/device connect 6000 hello); do usleep 10000; done
echo "@@ANSWER $answer@@"
wait $server
if vsock_echo vfio-user:/run/device connect 6001 hello; then exit 1; fi
start vsock_echo vfio-user:/run/device listen 7000
vsock check 7000 {BYTES // 8} stream 1
if vsock check 7001 1 stream 1; then exit 1; fi
kill $device
wait $device
echo "@@STATUS $?@@"
""", "--guest-module", "vsock_loopback", "--program", f"{self.bin}/tests/vm_vsock_guest:vsock",
                            "--program", harness.AIRLOCK,
                            "--program", self.bin / "examples/vsock_echo", "--memory", "1G",
                            kernel=os.environ.get("AIRLOCK_KERNEL", "6.12"), module=False)
        self.assertEqual(harness.said(console, "ANSWER"), ["hello"])
        self.assertIn(f"checked {BYTES // 8} bytes", console)
        self.assertEqual(harness.said(console, "STATUS"), ["0"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
