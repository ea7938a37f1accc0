#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/coverage.py: what it makes of a report of gcovr."""

import io
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coverage  # noqa: E402


def line(number, count, branches=()):
    return {
        "line_number": number,
        "count": count,
        "branches": [{"count": taken} for taken in branches],
    }


def one(path, *lines):
    return coverage.read({"files": [{"file": path, "lines": list(lines)}]})


class Read(unittest.TestCase):
    def test_counts_lines_and_branches(self):
        (file,) = one("src/ring/a.cc", line(1, 3, (2, 0)), line(2, 0), line(3, 1))
        self.assertEqual(file, coverage.File("src/ring/a.cc", 3, 2, 2, 1, (2,)))

    def test_a_line_of_two_templates_ran_if_one_of_them_did(self):
        (file,) = one("src/ring/a.h", line(1, 0), line(1, 4))
        self.assertEqual((file.lines, file.lines_run), (1, 1))

    def test_lines_without_code_do_not_count(self):
        self.assertEqual(one("src/ring/a.h", dict(line(1, 0), **{"gcovr/noncode": True})), [])


class Gaps(unittest.TestCase):
    TEXT = (
        "f();\n"
        "// uncovered: no memory\n"
        "g();\n"
        "h();  // uncovered: a broken kernel\n"
        "\n"
        "i();\n"
    )

    def gaps(self, *missing):
        file = coverage.File("src/ring/a.cc", 6, 0, 0, 0, missing)
        return list(coverage.gaps_of(file, self.TEXT))

    def test_repeats_the_reason_beside_a_line_or_above_it(self):
        self.assertEqual(self.gaps(3), ["src/ring/a.cc:3: no memory"])
        self.assertEqual(self.gaps(4), ["src/ring/a.cc:4: a broken kernel"])

    def test_says_so_where_there_is_none(self):
        self.assertEqual(self.gaps(1, 6), ["src/ring/a.cc:1: no reason given: f();",
                                           "src/ring/a.cc:6: no reason given: i();"])  # fmt: skip

    def test_lines_in_a_row_are_one_gap(self):
        self.assertEqual(self.gaps(3, 4), ["src/ring/a.cc:3-4: no memory"])


class Report(unittest.TestCase):
    def report(self, files, *folders):
        out = io.StringIO()
        return coverage.report(files, folders, out), out.getvalue()

    def test_the_goal_is_one_of_each_folder(self):
        good = coverage.File("src/ring/a.cc", 100, 95, 10, 5, ())
        bad = coverage.File("src/pci/a.cc", 100, 94, 10, 5, ())
        reached, text = self.report([good], "ring")
        self.assertTrue(reached)
        self.assertIn("src/ring: 95 % of lines reached", text)
        reached, text = self.report([bad, good], "pci", "ring")
        self.assertFalse(reached)
        self.assertIn("src/pci: 95 % of lines NOT REACHED", text)

    def test_a_folder_without_code_reaches_nothing(self):
        reached, text = self.report([], "ring")
        self.assertFalse(reached)
        self.assertIn("nothing of it was built", text)


if __name__ == "__main__":
    unittest.main()
