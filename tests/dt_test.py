# SPDX-License-Identifier: Apache-2.0
"""`airlock dt` as a command. The trees are those that seed its fuzz target.

Needs the binary that AIRLOCK names."""

import json
import subprocess
import sys
import unittest

import harness
from process_case import ProcessTest

TREES = harness.REPO / "fuzz/seeds/dt_fuzz"
POOL = ("--base", "0x50000000", "--size", "64M")


class DeviceTrees(ProcessTest):
    def check(self, blob, **options):
        done = harness.airlock("dt", "check", "--input", blob, "--json", **options)
        return json.loads(done.stdout)

    def pool(self, *arguments):
        """The machine's tree with a pool for these."""
        made = self.directory / "pool.dtb"
        harness.airlock("dt", "pool", "--input", TREES / "machine", "--output", made, *POOL,
                        *arguments)
        return made

    def test_a_pool_for_the_host_bridge(self):
        report = self.check(self.pool("--pci-host"))
        path = "/reserved-memory/restricted-dma-pool@50000000"
        self.assertEqual(report["pools"], [{"path": path, "base": 0x50000000, "bytes": 64 << 20,
                                            "state": "good"}])
        self.assertEqual(report["users"], [{"path": "/pcie@10000000", "host_bridge": True,
                                            "pool": path}])
        self.assertEqual(report["findings"], [])

    def test_a_pool_that_devices_share(self):
        report = self.check(self.pool("--node", "/virtio@a000000", "--node",
                                      "/pcie@10000000/card@1,0", "--name", "bounce"))
        self.assertEqual({user["pool"] for user in report["users"]},
                         {"/reserved-memory/bounce@50000000"})
        self.assertEqual(len(report["users"]), 2)

    def test_pipes(self):
        words = [harness.AIRLOCK, "dt", "pool", "--input", "-", "--output", "-", *POOL,
                 "--pci-host"]
        done = subprocess.run(words, input=(TREES / "machine").read_bytes(), capture_output=True,
                              check=True, timeout=30)
        self.assertEqual(done.stdout, self.pool("--pci-host").read_bytes())

    def test_words_for_a_person(self):
        done = harness.airlock("dt", "check", "--input", TREES / "pool")
        self.assertEqual(done.stdout.splitlines(), [
            "pool     /reserved-memory/pool@50000000  0x50000000+64M  good",
            "user     /virtio@a000000  /reserved-memory/pool@50000000"])
        done = harness.airlock("dt", "check", "--input", TREES / "machine")
        self.assertEqual(done.stdout, "no restricted DMA pool\n")

    # DT-1, DT-3
    def test_fails_where_linux_refuses(self):
        for name, rule in (("no_map", "DT-1"), ("disabled", "DT-3")):
            done = harness.airlock("dt", "check", "--input", TREES / name, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"refused  {rule}", done.stdout)
            self.assertIn("all memory", done.stderr)


class BadInput(ProcessTest):
    def pool_refused(self, *arguments, tree="machine", **expected):
        return self.refused("dt", "pool", "--input", TREES / tree, "--output",
                            self.directory / "none.dtb", *arguments, **expected)

    def test_what_is_no_tree(self):
        self.refused("dt", "check", "--input", self.image, says="more than any kernel")
        with open(self.image, "r+b") as file:
            file.truncate(4096)
        self.refused("dt", "check", "--input", self.image, says="no device tree")
        self.refused("dt", "check", "--input", self.directory / "nothing", says="No such file")

    def test_a_pool_for_nobody(self):
        self.pool_refused(*POOL, status=2, says="--pci-host")
        self.pool_refused(*POOL, "--node", "/none", says="no node /none")

    def test_places_that_are_none(self):
        self.pool_refused("--base", "fifty", "--size", "64M", "--pci-host", status=2,
                          says="'fifty' is no address")
        self.pool_refused("--base", "0x50000000", "--size", "100", "--pci-host",
                          says="multiples of 4096")
        self.pool_refused("--base", "0x50000000", "--size", "1G", "--pci-host",
                          says="not in the memory")

    # DT-3
    def test_a_second_pool_for_a_device(self):
        self.pool_refused("--base", "0x58000000", "--size", "1M", "--node", "/virtio@a000000",
                          tree="pool", says="has a pool already")


if __name__ == "__main__":
    sys.exit(unittest.main())
