#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the *_test.py files of some folders with unittest, and writes a JUnit file.

    python_tests.py --junit FILE FOLDER...
"""

import argparse
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import results  # noqa: E402


class Recorder(unittest.TextTestResult):
    """The usual text result, which also keeps one results.Case per test."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.cases = []

    def _keep(self, test, failure=None, skipped=False):
        self.cases.append(results.Case("tools", test.id(), failure, skipped))

    def addSuccess(self, test):  # noqa: N802  (unittest's names)
        super().addSuccess(test)
        self._keep(test)

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._keep(test, self._exc_info_to_string(err, test))

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._keep(test, self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._keep(subtest, self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        self._keep(test, skipped=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--junit", required=True)
    parser.add_argument("folder", nargs="+")
    options = parser.parse_args()
    suite = unittest.TestSuite()
    for folder in options.folder:
        suite.addTests(unittest.TestLoader().discover(folder, "*_test.py"))
    outcome = unittest.TextTestRunner(resultclass=Recorder, buffer=True).run(suite)
    results.write_suite(options.junit, "tools", outcome.cases)
    return 0 if outcome.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
