# SPDX-License-Identifier: Apache-2.0
"""A network card of ours in a real Linux: its stock driver, through our guest module, to a host
that is a few lines of this test. Nothing here needs privileges.

Needs the lab (lab/setup) and the binary that AIRLOCK names."""

import os
import secrets
import signal
import sys
import unittest

import harness
import net_peer
from vm_case import VmTest

KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.12")
GUEST = "10.7.0.2"
GUEST_MAC = "52:54:00:0a:0b:0c"
FILE_BYTES = (1 << 20) + 77

FIND = """
wait-for /sys/class/net/eth0/address
ip link set lo up
ip addr add {guest}/24 dev eth0
ip link set eth0 up
"""

# In small pieces, then whole: of 1400 bytes in one frame, up and down.
EXCHANGE = """
ping -c 3 -s 56 {host}
ping -c 3 -s 1400 {host}
tftp -g -r down -l /tmp/file -b 1428 {host}
tftp -p -l /tmp/file -r up -b 1428 {host}
echo "@@SUM $(sha256sum /tmp/file | cut -d' ' -f1)@@"
"""


class Net(VmTest):
    def setUp(self):
        super().setUp()
        self.content = secrets.token_bytes(FILE_BYTES)
        self.peer = self.enterContext(net_peer.NetPeer(self.directory / "peer.sock",
                                                       {"down": self.content}))

    def card(self, *arguments):
        return harness.Device("net", "--backend", f"socket:unix:{self.directory}/peer.sock",
                              "--mac", GUEST_MAC, *arguments, directory=self.directory,
                              name="net", guard="bounce")

    def run_guest(self, card, script, *arguments):
        script = (FIND + script).format(guest=GUEST, host=net_peer.ADDRESS)
        console = self.boot(card, "set -e\n" + script, *arguments, kernel=KERNEL, timeout=300)
        self.assertEqual(card.stop(), 0)
        return console

    def check_clean(self, card):
        stats = card.stats()
        self.assertEqual((stats["violations"], stats["refused"], stats["dma"]["guest_bytes_max"]),
                         (0, 0, 0), stats)
        self.assertTrue(harness.view_is_inside(stats["view"]), stats["view"])
        self.assertEqual(self.peer.bad_checksums, 0)
        return stats

    def at_rest(self, card):
        """The --on argument by which the guest waits until the card's process sleeps."""
        return (f"rest=timeout 100 {sys.executable} -B -c 'import sys; "
                f'sys.path.insert(0, "{harness.REPO}/tests"); '
                f"import harness; harness.settle({card.pid})'")

    # T1: everything through the region, both ways, each byte as it was, each checksum right. Then
    # nobody has anything to do, and nobody does.
    def test_a_file_there_and_back(self):
        with self.card() as card:
            console = self.run_guest(card, EXCHANGE + """
host rest
echo "@@MAC $(cat /sys/class/net/eth0/address)@@"
echo "@@CARRIER $(cat /sys/class/net/eth0/carrier)@@"
echo "@@DRIVER $(readlink /sys/class/net/eth0/device/driver)@@"
""", "--on", self.at_rest(card))
        self.assertEqual(harness.said(console, "MAC"), [GUEST_MAC])
        self.assertEqual(harness.said(console, "CARRIER"), ["1"])
        self.assertIn("virtio_net", harness.said(console, "DRIVER")[0])
        self.assertEqual(self.peer.arrived["up"], self.content)
        stats = self.check_clean(card)
        self.assertGreater(stats["received"]["bytes"], FILE_BYTES)
        self.assertGreater(stats["sent"]["bytes"], FILE_BYTES)
        self.assertEqual(stats["sent"]["dropped"], 0)

    # What the driver says over the control queue holds: a new address, and everything.
    def test_commands(self):
        with self.card("--mtu", "1400") as card:
            console = self.run_guest(card, """
echo "@@MTU $(cat /sys/class/net/eth0/mtu)@@"
ping -c 1 {host}
ip link set eth0 down
ip link set eth0 address 52:54:00:01:01:01
ip link set eth0 up
ping -c 3 {host}
ip link set eth0 promisc on
ifconfig eth0 allmulti
ping -c 1 {host}
ip link set eth0 promisc off
ping -c 1 {host}
""")
        self.assertEqual(harness.said(console, "MTU"), ["1400"])
        self.assertIn(bytes.fromhex("525400010101"), self.peer.sources)
        self.assertGreater(self.check_clean(card)["commands"], 3)

    # The other end goes away and comes back: the guest's link follows.
    def test_the_link_follows_the_other_end(self):
        for number, action in ((signal.SIGUSR1, self.peer.go), (signal.SIGUSR2, self.peer.come)):
            signal.signal(number, lambda *_, action=action: action())
            self.addCleanup(signal.signal, number, signal.SIG_DFL)
        with self.card() as card:
            self.run_guest(card, """
ping -c 1 {host}
host go
until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do usleep 50000; done
host come
until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do usleep 50000; done
ping -c 3 {host}
""", "--on", f"go=kill -USR1 {os.getpid()}", "--on", f"come=kill -USR2 {os.getpid()}")
        stats = self.check_clean(card)
        self.assertEqual(stats["disconnects"], 1)

    # The rejecting twin of all of these: a driver that declines the region has no card.
    def test_without_our_module_there_is_no_card(self):
        with self.card() as card:
            self.boot(card, """
[ ! -e /sys/class/net/eth0 ]
""", kernel=KERNEL, module=False, timeout=300)
            self.assertEqual(card.stop(), 0)
        self.assertEqual(card.stats()["sent"]["frames"], 0)


if __name__ == "__main__":
    sys.exit(unittest.main())
