# SPDX-License-Identifier: Apache-2.0
"""`./dev bench pool`: its tables, of numbers that are known. Nothing here says how fast anything
has to be."""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness

sys.path.append(str(harness.REPO / "bench"))
import pool  # noqa: E402


def run(side, direction, size, full, threads, nanoseconds):
    return {"name": f"{side}/{direction}/{size}/{full}/threads:{threads}",
            "threads": threads, "real_time": 5e6, "cpu_time": nanoseconds}


def results_of(time_of):
    """Of a function from side, size, fullness and threads to nanoseconds."""
    runs = []
    for direction, size, threads in itertools.product(pool.DIRECTIONS, pool.SIZES, (1, 2)):
        for side, full in itertools.chain(
                itertools.product(("ours", "ours_scrub_on_map", "linux"), pool.FULL),
                (("copies", 0), ("memcpy", 0))):
            for more in (0, 1, 5):
                runs.append(run(side, direction, size, full, threads,
                                time_of(side, size, full, threads) + more))
    runs.append({"name": "pin_unpin/4096", "threads": 1, "real_time": 5e6, "cpu_time": 7})
    return {"date": "2000-01-01", "repetitions": 3, "seconds": 1, "runs": runs,
            "machine": {"cpu": "a CPU", "cpus": 2, "kernel": "6.1"}}


def even(side, size, full, threads):
    return {"copies": 99, "memcpy": 49, "linux": 399}.get(side, 119)


class PoolBench(unittest.TestCase):
    def test_takes_the_median_of_the_processor_times(self):
        found = pool.times(results_of(even))
        self.assertEqual(found[pool.Case("ours", "to_device", 512, 90, 2)].median, 120)
        self.assertEqual(found[pool.Case("pin", "", 4096, 0, 1)].median, 7)

    def test_says_which_targets_are_reached(self):
        rows = pool.verdicts(pool.times(results_of(even)))
        self.assertEqual([row[2:] for row in rows], [["1.20", "yes"]] * 2 + [["1.00", "yes"]])

    def test_says_which_are_not(self):
        def slow(side, size, full, threads):
            if side == "ours" and (size, full, threads) == (65536, 90, 2):
                return 359
            return 149 if side == "ours" and size == 4096 else even(side, size, full, threads)

        rows = pool.verdicts(pool.times(results_of(slow)))
        self.assertEqual([row[2:] for row in rows], [["1.50", "NO"]] * 2 + [["3.00", "NO"]])

    def test_makes_the_page_again_of_what_was_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            kept = pathlib.Path(folder) / "kept.json"
            kept.write_text(json.dumps(results_of(even)))
            subprocess.run([harness.REPO / "dev", "bench", "pool", "--from", kept, "--out", folder],
                           check=True, stderr=subprocess.DEVNULL)
            page = (pathlib.Path(folder) / "2000-01-01-pool.md").read_text()
        self.assertIn("| 1 MiB from it | 100 | 120 | 120 | 120 | 120 | 400 |", page)
        self.assertIn("| 1.20 | 3.33 |", page)
        self.assertIn("4 KiB: 7.0.", page)


if __name__ == "__main__":
    unittest.main()
