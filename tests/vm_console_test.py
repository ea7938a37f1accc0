# SPDX-License-Identifier: Apache-2.0
"""Random numbers and a console in a stock guest, whose kernel has nothing of ours but a transport.

Needs the lab (lab/setup --kernel 6.12) and the binary that AIRLOCK names. AIRLOCK_KERNEL: the
guest's kernel, 6.12 by default."""

import contextlib
import fcntl
import hashlib
import os
import re
import select
import socket
import struct
import termios
import threading
import unittest

import harness
from vm_case import VmTest

KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.12")
DATA_BYTES = 1 << 20
BOOT_SECONDS = 300


class Terminal:
    """Somebody at the other side of a pseudoterminal."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.text = ""

    def expect(self, pattern):
        """Reads until the pattern has come since the last one; its match."""
        while not (match := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.fd], [], [], BOOT_SECONDS)
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self.text!r}")
            self.text += os.read(self.fd, 65536).decode(errors="replace")
        self.text = self.text[match.end():]
        return match

    def type(self, line):
        os.write(self.fd, line.encode() + b"\n")

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Person(threading.Thread):
    """Uses the console and the data port while the VM runs; `failure` is what went wrong."""

    def __init__(self, terminal, data, path):
        super().__init__(daemon=True)
        self.terminal, self.data, self.path = terminal, data, path
        self.failure = None

    def run(self):
        try:
            self.use_console()
            self.exchange()
        except BaseException as failure:  # said by the test's own thread
            self.failure = failure

    def use_console(self):
        self.terminal.expect("# ")
        self.terminal.type("echo the answer is $((6 * 7)), on $(tty)")
        self.terminal.expect("the answer is 42, on /dev/hvc0")
        self.terminal.resize(43, 132)
        # A key is what has the device look; the guest hears of the size before it or after.
        self.terminal.type("until stty size | grep -q 132; do usleep 10000; done; stty size")
        self.size = self.terminal.expect(r"\n(\d+ \d+)")[1]

    def exchange(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(BOOT_SECONDS)
            client.connect(str(self.path))
            sender = threading.Thread(target=client.sendall, args=(self.data,), daemon=True)
            sender.start()
            self.back = b""
            while len(self.back) < len(self.data):
                piece = client.recv(65536)
                if not piece:
                    raise AssertionError(f"the port ended after {len(self.back)} bytes")
                self.back += piece
            sender.join()
            client.sendall(b"done")
            # Until the guest has it.
            client.recv(1)


class Console(VmTest):
    def setUp(self):
        super().setUp()
        harness.run(harness.REPO / "lab/build-module", KERNEL)

    # One boot: what stock virtio_rng and virtio_console do with our devices, under --dma=require.
    def test_numbers_a_login_and_a_port(self):
        data = os.urandom(DATA_BYTES)
        link, port = self.directory / "console", self.directory / "data.sock"
        with contextlib.ExitStack() as stack:
            rng = stack.enter_context(harness.Device("rng", directory=self.directory, name="rng"))
            console = stack.enter_context(harness.Device(
                "console", "--port", f"console=pty:{link}", "--port", f"data=socket:{port}",
                directory=self.directory, name="console"))
            terminal = Terminal(link)
            person = Person(terminal, data, port)
            person.start()
            said = self.boot(None, f"""
wait-for /dev/hwrng
echo "@@RNG $(cat /sys/class/misc/hw_random/rng_current)@@"
for i in 1 2; do echo "@@BYTES $(head -c 4096 /dev/hwrng | sha256sum | cut -c 1-64)@@"; done
wait-for /dev/hvc0
setsid sh -c 'exec sh -i </dev/hvc0 >/dev/hvc0 2>&1' &
for port in /dev/vport*p1; do exec 3<>$port; done
echo "@@NAME $(cat /sys/class/virtio-ports/vport*p1/name)@@"
touch /tmp/in
while [ $(stat -c %s /tmp/in) -lt {DATA_BYTES} ]; do
  head -c $(({DATA_BYTES} - $(stat -c %s /tmp/in))) <&3 >>/tmp/in
  usleep 1000
done
echo "@@SUM $(sha256sum /tmp/in | cut -c 1-64)@@"
cat /tmp/in >&3
test "$(head -c 4 <&3)" = done
echo bye >&3
dmesg | grep -E 'WARNING|BUG|Oops|refused' && exit 1
true
""", "--vfio-user", rng.socket, "--vfio-user", console.socket, kernel=KERNEL,
                             timeout=BOOT_SECONDS)
            person.join(60)
            self.assertIsNone(person.failure)
            self.assertEqual((rng.stop(), console.stop()), (0, 0))
        self.assertRegex(harness.said(said, "RNG")[0], r"virtio_rng")
        self.assertEqual(len(set(harness.said(said, "BYTES"))), 2)
        self.assertEqual(harness.said(said, "NAME"), ["data"])
        self.assertEqual(harness.said(said, "SUM"), [hashlib.sha256(data).hexdigest()])
        self.assertEqual(person.back, data)
        self.assertEqual(person.size, "43 132")
        for device in (rng, console):
            stats = device.stats()
            self.assertEqual(stats["violations"], 0)
            self.assertTrue(harness.view_is_inside(stats["view"]), stats["view"])
        self.assertEqual(console.stats()["ignored_messages"], 0)
        self.assertFalse(link.is_symlink() or port.exists())


if __name__ == "__main__":
    unittest.main()
