#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/results.py: nothing that failed may be summed as passed."""

import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fuzz_smoke  # noqa: E402
import results  # noqa: E402


def ctest(*cases):
    return f'<testsuite name="t">{"".join(cases)}</testsuite>'


def gtest(*cases):
    return f'<testsuites><testsuite name="S">{"".join(cases)}</testsuite></testsuites>'


PASS = '<testcase name="{0}" classname="{0}" status="run"/>'
FAIL = '<testcase name="{0}" classname="{0}" status="fail"><failure message=""/></testcase>'
GTEST_PASS = '<testcase name="A" status="run" result="completed" classname="S"/>'
GTEST_FAIL = '<testcase name="B" status="run" classname="S"><failure message="x != y"/></testcase>'


class Sum(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def check(self, status, last_line):
        out = io.StringIO()
        self.assertEqual(status, results.report(self.folder, out))
        self.assertEqual(last_line, out.getvalue().splitlines()[-1])

    def test_runs_are_added(self):
        self.write("debug.xml", ctest(PASS.format("a"), PASS.format("b")))
        self.write("tsan.xml", ctest(PASS.format("a")))
        self.check(0, "3 passed, 0 failed")

    def test_a_failure_is_a_failure(self):
        self.write("debug.xml", ctest(PASS.format("a"), FAIL.format("b")))
        self.check(1, "1 passed, 1 failed")

    def test_a_missing_program_failed_and_a_skip_did_not(self):
        missing = '<skipped message="Unable to find executable: b"/>'
        asked = '<skipped message="SKIP_RETURN_CODE=77"/>'
        notrun = '<testcase name="{}" status="notrun">{}</testcase>'
        self.write("debug.xml", ctest(PASS.format("a"), notrun.format("b", asked)))
        self.check(0, "1 passed, 0 failed")
        self.write("debug.xml", ctest(PASS.format("a"), notrun.format("b", missing)))
        self.check(1, "1 passed, 1 failed")

    def test_cases_of_a_program_count_in_its_place(self):
        self.write("debug.xml", ctest(PASS.format("a")))
        self.write("debug.gtest/a.xml", gtest(GTEST_PASS, GTEST_PASS))
        self.check(0, "2 passed, 0 failed")

    def test_failing_case_of_a_program(self):
        self.write("debug.xml", ctest(FAIL.format("a")))
        self.write("debug.gtest/a.xml", gtest(GTEST_PASS, GTEST_FAIL))
        self.check(1, "1 passed, 1 failed")

    def test_a_program_that_failed_after_its_cases_passed(self):
        self.write("debug.xml", ctest(FAIL.format("a")))
        self.write("debug.gtest/a.xml", gtest(GTEST_PASS))
        self.check(1, "1 passed, 1 failed")

    def test_a_crashed_program_leaves_no_or_half_a_file(self):
        self.write("debug.xml", ctest(FAIL.format("a"), PASS.format("b")))
        self.write("debug.gtest/b.xml", "<testsuites>")
        self.check(1, "0 passed, 2 failed")

    def test_nothing_at_all_is_a_failure(self):
        self.check(1, "0 passed, 0 failed")

    def test_what_is_written_is_read_back(self):
        cases = [
            results.Case("s", "good", None),
            results.Case("s", "bad", "\x1b[31mred <&>\x00"),
            results.Case("s", "later", None, True),
        ]
        results.write_suite(os.path.join(self.folder, "s.xml"), "s", cases)
        self.check(1, "1 passed, 1 failed")


class Canary(unittest.TestCase):
    REPORT = "==1==ERROR: AddressSanitizer: heap-buffer-overflow on address"

    def test_it_must_crash_in_the_right_way(self):
        self.assertIsNone(fuzz_smoke.verdict("canary_fuzz", 1, self.REPORT))
        self.assertIsNotNone(fuzz_smoke.verdict("canary_fuzz", 0, "Done 1000000 runs"))
        self.assertIsNotNone(fuzz_smoke.verdict("canary_fuzz", 1, "cannot open corpus"))

    def test_the_others_must_not(self):
        self.assertIsNone(fuzz_smoke.verdict("a_fuzz", 0, "Done 1000000 runs"))
        self.assertIsNotNone(fuzz_smoke.verdict("a_fuzz", 77, self.REPORT))


if __name__ == "__main__":
    unittest.main()
