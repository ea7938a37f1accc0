# SPDX-License-Identifier: Apache-2.0
"""A network card prints what a peer sends it, and what one sends that comes after it."""

import os
import socket
import subprocess
import unittest

from example_case import ExampleTest

US = bytes.fromhex("525400000001")
PEER = bytes.fromhex("525400000002")
ARP, IPV4 = 0x0806, 0x0800


def frame(target, protocol, length):
    """As it is in a stream: behind its length."""
    head = target + PEER + protocol.to_bytes(2)
    return length.to_bytes(4) + head + bytes(length - len(head))


class PacketPrinter(ExampleTest):
    def setUp(self):
        super().setUp()
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(str(self.directory / "peer.sock"))
        self.listener.listen()
        self.listener.settimeout(60)

    def test_prints_what_peers_send(self):
        device = self.serve("net", "--backend", f"socket:unix:{self.directory}/peer.sock")
        peer, _ = self.listener.accept()
        printer = subprocess.Popen([os.environ["EXAMPLE"], f"vfio-user:{device.socket}", "4"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(printer.stdout.close)
        self.addCleanup(printer.stderr.close)
        self.addCleanup(printer.wait)
        self.addCleanup(printer.kill)
        self.assertIn("listening", printer.stderr.readline())
        peer.sendall(frame(b"\xff" * 6, ARP, 60) + frame(US, IPV4, 1514))
        self.assertEqual(printer.stdout.readline(),
                         "52:54:00:00:00:02 -> ff:ff:ff:ff:ff:ff, ARP, 60 bytes\n")
        self.assertEqual(printer.stdout.readline(),
                         "52:54:00:00:00:02 -> 52:54:00:00:00:01, IPv4, 1514 bytes\n")
        # Half a frame, and no more: the device connects again, from inside its sandbox.
        peer.sendall(frame(US, IPV4, 1000)[:500])
        peer.close()
        peer, _ = self.listener.accept()
        self.addCleanup(peer.close)
        peer.sendall(frame(US, 0x86dd, 70) + frame(US, 0x1234, 60))
        said, errors = printer.communicate(timeout=60)
        self.assertEqual(said, "52:54:00:00:00:02 -> 52:54:00:00:00:01, IPv6, 70 bytes\n"
                               "52:54:00:00:00:02 -> 52:54:00:00:00:01, type 1234, 60 bytes\n")
        self.assertEqual(printer.returncode, 0, errors)
        self.assertIn("it hung up", device.wait_for_line("lost the peer"))

    def test_says_what_it_cannot_do(self):
        self.run_example(status=2)
        self.run_example("vfio-user:/nonexistent", status=1)


if __name__ == "__main__":
    unittest.main()
