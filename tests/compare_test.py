# SPDX-License-Identifier: Apache-2.0
"""`airlock compare` as a person or a report meets it: every model, in little time."""

import json
import unittest

import harness
from process_case import ProcessTest

MODELS = ["region", "region-in-place", "region-aes", "region-chacha", "pool", "shared", "share",
          "share-bounce", "viommu", "viommu-bounce", "vmm-copy", "snoop", "open"]
LIMIT_SECONDS = 900


class Scanned:
    """What is asked of every comparison, whatever went through its `models`."""

    # SYS-1, SYS-2, SYS-4, SYS-5, SYS-6, SYS-7, SYS-13
    def test_the_scan_finds_nothing_but_with_open(self):
        for name, model in self.models.items():
            found = model["scan"]["outside_bytes"]
            if name == "open":
                self.assertGreater(found, 1 << 20)
            else:
                self.assertEqual(found, 0, name)


class Compare(Scanned, ProcessTest):
    @classmethod
    def setUpClass(cls):
        done = harness.airlock("compare", "--time", "2s", "--json", timeout=LIMIT_SECONDS)
        told = json.loads(done.stdout)
        cls.told = told
        cls.models = {model["name"]: model for model in told["models"]}
        cls.apart = told["apart"]

    def test_every_model_ran_every_load(self):
        self.assertEqual(self.told["workload"], "blk")
        self.assertNotIn("left_out", self.told)
        self.assertEqual(list(self.models), MODELS)
        for name, model in self.models.items():
            self.assertEqual(len(model["loads"]), 12, name)
            for load in model["loads"]:
                self.assertGreater(load["requests"], 0, (name, load))
                self.assertGreater(load["cpu_ns_per_byte"]["all"], 0, (name, load))
                self.assertAlmostEqual(load["device_copies_per_byte"], 1, places=6)

    def copies(self, name):
        """Of data, for each byte of a large request."""
        loads = [load for load in self.models[name]["loads"] if load["request_bytes"] == 131072]
        self.assertEqual(len(loads), 4)
        return {load["write"]: load["copies_per_byte"] for load in loads}

    def test_copies_are_counted(self):
        for name in ("open", "region-in-place", "share", "viommu"):
            self.assertEqual(self.copies(name), {False: 0, True: 0}, name)
        for name in ("region", "region-aes", "region-chacha", "vmm-copy", "snoop"):
            for copies in self.copies(name).values():
                self.assertAlmostEqual(copies, 1, delta=0.001, msg=name)
        # Linux copies in what the device is going to overwrite (DT-11).
        for name in ("pool", "shared", "viommu-bounce"):
            self.assertEqual(self.copies(name), {False: 2, True: 1}, name)

    def test_exposure_of_a_request_smaller_than_a_page(self):
        def visible(name):
            return {row["write"]: row["visible_per_byte"]
                    for row in self.models[name]["exposures"] if row["request_bytes"] == 512}
        self.assertEqual(visible("region"), {False: 0, True: 1})
        self.assertEqual(visible("region-aes"), {False: 0, True: 0})
        self.assertEqual(visible("region-chacha"), {False: 0, True: 0})
        self.assertEqual(visible("snoop"), {False: 0, True: 1})
        self.assertEqual(visible("share"), {False: 8, True: 8})
        self.assertEqual(visible("share-bounce"), {False: 0, True: 1})
        self.assertEqual(visible("viommu"), {False: 8, True: 8})
        self.assertGreater(visible("open")[True], 1000)

    # SYS-8: hardware forgets what it is told to; an emulated device only if the flush trapped.
    def test_two_stages_and_who_hears_of_a_flush(self):
        unseen, trapped = self.apart["two_stage"]
        self.assertFalse(unseen["hv_sees_flush"])
        self.assertTrue(trapped["hv_sees_flush"])
        for row in (unseen, trapped):
            self.assertGreater(row["unmaps"], 0)
            self.assertGreater(row["unmap_us"], 0)
            self.assertEqual(row["hardware_stale_reads"], 0)
        self.assertEqual(unseen["emulated_stale_reads"], unseen["unmaps"])
        self.assertEqual(unseen["traps"], 0)
        self.assertEqual(trapped["emulated_stale_reads"], 0)
        self.assertEqual(trapped["traps"], trapped["unmaps"])

    # SYS-12, DT-14
    def test_a_card_reads_what_the_bus_lets_it(self):
        free, locked = self.apart["locked_bus"]
        self.assertFalse(free["locked"])
        self.assertTrue(locked["locked"])
        for row in (free, locked):
            self.assertGreater(row["frames"], 0)
            self.assertGreater(row["private_bytes"], 0)
            self.assertEqual(row["opened"], not row["locked"])
        self.assertEqual(free["read_bytes"], free["private_bytes"])
        self.assertEqual(free["faults"], 0)
        self.assertEqual(locked["read_bytes"], 0)
        self.assertGreater(locked["faults"], 0)

    def test_trusted_parts_have_lines_and_messages(self):
        for name, model in self.models.items():
            self.assertEqual(model["trusted_lines"]["own"] > 0, model["has_trusted_part"], name)
            asks = any(load["messages_per_request"] > 0 for load in model["loads"])
            self.assertEqual(asks, name in ("share", "share-bounce", "viommu"), name)


class Frames(Scanned, ProcessTest):
    """The same with --workload net, of a model of each kind."""

    CHOSEN = ["region", "region-aes", "pool", "share", "vmm-copy", "open"]

    @classmethod
    def setUpClass(cls):
        done = harness.airlock("compare", "--workload", "net", "--models", ",".join(cls.CHOSEN),
                               "--time", "1s", "--json", timeout=LIMIT_SECONDS)
        cls.told = json.loads(done.stdout)
        cls.models = {model["name"]: model for model in cls.told["models"]}

    def test_every_model_carried_them_or_says_why_not(self):
        self.assertEqual(self.told["workload"], "net")
        left_out = {one["name"]: one["why"] for one in self.told["left_out"]}
        self.assertEqual(list(left_out), ["region-aes"])
        self.assertTrue(all(left_out.values()))
        self.assertEqual(list(self.models), [name for name in self.CHOSEN if name not in left_out])
        for name, model in self.models.items():
            loads = {(load["request_bytes"], load["write"], load["depth"])
                     for load in model["loads"]}
            self.assertEqual(loads, {(size, sent, depth) for size in (64, 1500, 65536)
                                     for sent in (False, True) for depth in (1, 32)}, name)
            for load in model["loads"]:
                self.assertGreater(load["requests"], 0, (name, load))
                self.assertGreaterEqual(load["p99_us"], load["p50_us"], (name, load))
                # Every frame went whole between the window and the wire.
                self.assertAlmostEqual(load["device_copies_per_byte"], 1, places=6)

    def test_copies_messages_and_exposure(self):
        def of_loads(name, what, size):
            return {load["write"]: round(load[what], 2) for load in self.models[name]["loads"]
                    if load["request_bytes"] == size}
        for name, received, sent in (("region", 1, 1), ("pool", 2, 1), ("share", 0, 0),
                                     ("vmm-copy", 1, 1), ("open", 0, 0)):
            self.assertEqual(of_loads(name, "copies_per_byte", 65536),
                             {False: received, True: sent}, name)
        for name, messages in ("region", 0), ("share", 2), ("vmm-copy", 0):
            self.assertEqual(of_loads(name, "messages_per_request", 1500),
                             {False: messages, True: messages}, name)

        def visible(name):
            return {row["write"]: row["visible_per_byte"]
                    for row in self.models[name]["exposures"] if row["request_bytes"] == 64}
        self.assertEqual(visible("region"), {False: 0, True: 1})
        self.assertEqual(visible("pool"), {False: 1, True: 1})
        self.assertEqual(visible("share"), {False: 64, True: 64})
        self.assertGreater(visible("open")[True], 1000)


class BadInput(ProcessTest):
    def test_what_there_is_not(self):
        self.refused("compare", "--models", "region,none", status=2, says="--list")
        self.refused("compare", "--workload", "tape", status=2, says="blk or net")
        self.refused("compare", "--workload", "net", "--models", "region-aes", status=2,
                     says="seals")

    def test_pages_that_cannot_be_written(self):
        self.refused("compare", "--html", self.directory / "none" / "page.html", says="--html")
        self.refused("compare", "--html", self.directory, says="--html")
        self.refused("compare", "--html", "page.html", "--json", status=2)
        self.refused("compare", "--html", "page.html", "--list", status=2)

    def test_pages_of_what_is_no_comparison(self):
        page, saved = self.directory / "page.html", self.directory / "saved.json"
        self.refused("compare", "--from", saved, status=2, says="--html")
        self.refused("compare", "--from", saved, "--html", page, says="--from")
        self.refused("compare", "--from", saved, "--html", page, "--models", "open", status=2)
        for text, says in ("{", "no JSON"), ("{}", "no 'machine'"), ("[1]", "no 'machine'"):
            saved.write_text(text)
            self.refused("compare", "--from", saved, "--html", page, says=says)
        # What stood there stays, where there is nothing to put in its place.
        page.write_text("as it was")
        self.refused("compare", "--from", saved, "--html", page)
        self.assertEqual(page.read_text(), "as it was")

    def test_the_list_and_the_table(self):
        listed = harness.airlock("compare", "--list").stdout
        for name in MODELS:
            self.assertIn(name, listed)
        table = harness.airlock("compare", "--models", "region,open", "--time", "200ms",
                                timeout=LIMIT_SECONDS).stdout
        self.assertRegex(table, r"(?m)^region +0\.00 +1\.00 ")
        self.assertRegex(table, r"(?m)^open +\d{3,}")
        table = harness.airlock("compare", "--models", "region,region-aes", "--workload", "net",
                                "--time", "100ms", timeout=LIMIT_SECONDS).stdout
        self.assertRegex(table, r"(?m)^Received frames of 64, depth 32$")
        self.assertRegex(table, r"(?m)^left out: region-aes, since \w+")
        self.assertNotRegex(table, r"(?m)^region-aes|[Rr]eads")


if __name__ == "__main__":
    unittest.main()
