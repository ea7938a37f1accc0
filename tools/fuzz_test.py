#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/fuzz_smoke.py, fuzz_campaign.py and fuzz_seeds.py: all but the fuzzing."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fuzz_campaign  # noqa: E402
import fuzz_seeds  # noqa: E402
import fuzz_smoke  # noqa: E402
import tidy  # noqa: E402


class Smoke(unittest.TestCase):
    def test_the_environment_says_how_long(self):
        self.assertEqual(fuzz_smoke.seconds_each({}), fuzz_smoke.SECONDS)
        self.assertEqual(fuzz_smoke.seconds_each({"AIRLOCK_FUZZ_SECONDS": "7"}), 7)

    def test_only_the_canary_has_to_crash(self):
        report = "==1==ERROR: AddressSanitizer: heap-buffer-overflow on address"
        self.assertIsNone(fuzz_smoke.verdict(fuzz_smoke.CANARY, 1, report))
        self.assertIsNotNone(fuzz_smoke.verdict(fuzz_smoke.CANARY, 0, ""))
        self.assertIsNotNone(fuzz_smoke.verdict("blk_fuzz", 1, report))
        self.assertIsNone(fuzz_smoke.verdict("blk_fuzz", 0, ""))


class Campaign(unittest.TestCase):
    TARGETS = ["/b/blk_fuzz", "/b/canary_fuzz", "/b/session_fuzz"]

    def test_all_is_all_but_the_canary(self):
        self.assertEqual(fuzz_campaign.choose(self.TARGETS, [], True),
                         ["/b/blk_fuzz", "/b/session_fuzz"])  # fmt: skip

    def test_a_name_has_to_be_a_target(self):
        chosen = fuzz_campaign.choose(self.TARGETS, ["session_fuzz"], False)
        self.assertEqual(chosen, ["/b/session_fuzz"])
        for name in ("no_fuzz", "canary_fuzz"):
            with self.assertRaises(KeyError):
                fuzz_campaign.choose(self.TARGETS, [name], False)

    def test_names_the_artifacts_of_this_campaign_and_target(self):
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "fuzz-crashes")
            os.mkdir(folder)
            for name, time in (
                ("blk_fuzz-crash-1", 200),
                ("blk_fuzz-crash-0", 100),
                ("blk_fuzz.log", 200),
                ("session_fuzz-leak-2", 200),
            ):
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8"):
                    pass
                os.utime(path, (time, time))
            self.assertEqual(fuzz_campaign.artifacts_since(150, work, "blk_fuzz"),
                             [os.path.join(folder, "blk_fuzz-crash-1")])  # fmt: skip


class Seeds(unittest.TestCase):
    def test_numbers_are_read_from_the_end_and_bytes_from_the_front(self):
        seed = fuzz_seeds.Seed().bytes(b"ab").number(3, 0, 15).boolean(True).bytes(b"c")
        self.assertEqual(seed.data(), b"abc\x01\x03")

    def test_a_number_has_the_bytes_of_its_range(self):
        self.assertEqual(fuzz_seeds.Seed().number(300, 0, 0xFFFF).data(), b"\x2c\x01")
        self.assertEqual(fuzz_seeds.Seed().number(41, 40, 296).data(), b"\x01\x00")
        self.assertEqual(fuzz_seeds.Seed().number(7, 7, 7).data(), b"")
        self.assertEqual(fuzz_seeds.Seed().integer(1, 64).data(), b"\x01" + bytes(7))

    def test_a_number_outside_its_range_is_refused(self):
        with self.assertRaises(ValueError):
            fuzz_seeds.Seed().number(16, 0, 15)

    def test_every_folder_of_seeds_is_that_of_a_target(self):
        texts = tidy.read_tree(fuzz_smoke.REPO)
        lists = "".join(text for path, text in texts.items() if path.endswith("CMakeLists.txt"))
        for name in os.listdir(fuzz_seeds.FOLDER):
            self.assertIn(f"airlock_fuzz({name} ", lists)

    def test_the_tree_holds_what_the_script_makes(self):
        for name, seeds in fuzz_seeds.all_seeds().items():
            for title, data in seeds.items():
                path = os.path.join(fuzz_seeds.FOLDER, name, title)
                with open(path, "rb") as file:
                    self.assertEqual(file.read(), data, path)


if __name__ == "__main__":
    unittest.main()
