# SPDX-License-Identifier: Apache-2.0
"""`airlock serve net` as a command: what it refuses, what it is at rest, how it ends.

Needs the binary that AIRLOCK names."""

import sys
import unittest

import harness
import net_peer
from process_case import ProcessTest


class NetCase(ProcessTest):
    def net_refused(self, *arguments, **expected):
        return self.refused("serve", "net", "--socket", self.socket, *arguments, **expected)

    def card(self, *arguments, backend="loop"):
        return harness.Device("net", "--backend", backend, *arguments, directory=self.directory,
                              name="net")


class BadInput(NetCase):
    def test_unknown_backend(self):
        self.net_refused("--backend", "string:a", says="string")

    def test_a_peer_that_is_not_there(self):
        self.net_refused("--backend", f"socket:unix:{self.directory}/nobody.sock",
                         says="No such file")

    def test_an_address_that_is_none(self):
        for mac in ("52:54:00:12:34", "01:00:5e:00:00:01", "00:00:00:00:00:00"):
            self.net_refused("--backend", "loop", "--mac", mac, status=2, says="--mac")

    def test_an_mtu_that_no_network_has(self):
        self.net_refused("--backend", "loop", "--mtu", "67", status=2, says="--mtu")

    def test_more_queues_than_the_backend_has(self):
        with net_peer.NetPeer(self.directory / "peer.sock", {}):
            self.net_refused("--backend", f"socket:unix:{self.directory}/peer.sock",
                             "--queues", "2", says="--queues 1")

    def test_queues_of_impossible_sizes(self):
        self.net_refused("--backend", "loop", "--queue-size", "8", status=2, says="--queue-size")
        self.net_refused("--backend", "loop", "--queue-size", "1024", status=2,
                         says="--queue-size")
        self.net_refused("--backend", "loop", "--queue-size", "100", status=2,
                         says="power of two")

    def test_a_region_that_is_too_small(self):
        self.net_refused("--backend", "loop", "--region", "256K", says="--region 1M")


class Lifecycle(NetCase):
    def test_says_what_it_serves(self):
        with self.card("--mac", "52:54:00:0a:0b:0c") as card:
            self.assertIn("52:54:00:0a:0b:0c", card.wait_for_line("serving net"))
            self.assertEqual(card.stop(), 0)
        stats = card.stats()
        self.assertEqual((stats["sent"]["frames"], stats["received"]["frames"]), (0, 0))

    def test_has_the_same_address_in_the_same_place(self):
        addresses = set()
        for _ in range(2):
            with self.card() as card:
                addresses.add(card.wait_for_line("serving net").split(", ")[1])
        self.assertEqual(len(addresses), 1)

    def test_sleeps_at_rest(self):
        with net_peer.NetPeer(self.directory / "peer.sock", {}):
            with self.card(backend=f"socket:unix:{self.directory}/peer.sock") as card:
                self.assert_asleep(card.pid)


if __name__ == "__main__":
    sys.exit(unittest.main())
