#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The results of one ./test run: JUnit files under one folder, and their sum.

    results.py case FOLDER SUITE NAME SECONDS [--failed WHY]   record one step of a script
    results.py sum FOLDER                                      failures, then `N passed, N failed`

In FOLDER, RUN.xml is what ctest --output-junit wrote, and RUN.gtest/TEST.xml what the GoogleTest
program of that ctest test wrote: where there is one, its cases are counted in place of the program.
"""

import argparse
import glob
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple, Optional

# Characters that XML 1.0 cannot hold, such as the escape of coloured output.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]")


class Case(NamedTuple):
    suite: str
    name: str
    failure: Optional[str]  # None: passed
    skipped: bool = False
    seconds: float = 0.0


def write_suite(path, suite, cases):
    """Writes `cases` as a JUnit file that `read_suite` reads back."""
    root = ElementTree.Element("testsuite", name=suite, tests=str(len(cases)))
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", name=case.name, classname=case.suite)
        element.set("time", f"{case.seconds:.3f}")
        if case.skipped:
            ElementTree.SubElement(element, "skipped")
        elif case.failure is not None:
            failure = ElementTree.SubElement(element, "failure")
            failure.text = _NOT_XML.sub("?", case.failure)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _read_case(suite, element):
    name = element.get("name", "")
    class_name = element.get("classname")
    if class_name and class_name != name and class_name != suite:
        name = f"{class_name}.{name}"
    seconds = float(element.get("time") or 0)
    failure = element.find("failure")
    if failure is None:
        failure = element.find("error")
    if failure is not None or element.get("status") == "fail":
        text = "" if failure is None else failure.text or failure.get("message") or ""
        return Case(suite, name, text or "failed", seconds=seconds)
    skipped = element.find("skipped")
    if skipped is not None or element.get("status") in ("notrun", "disabled"):
        why = "" if skipped is None else skipped.get("message", "")
        # ctest says "not run" also of a test whose program is missing: that is a failure.
        asked_for = element.get("status") != "notrun" or why.startswith(("SKIP_", "Disabled"))
        return Case(suite, name, None if asked_for else why or "not run", asked_for, seconds)
    return Case(suite, name, None, element.get("result") == "skipped", seconds)


def read_suite(path):
    """The cases of a JUnit file. One that cannot be read is one failed case."""
    suite = os.path.splitext(os.path.basename(path))[0]
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        return [Case(suite, "(results)", f"cannot be read: {error}")]
    return [_read_case(suite, element) for element in root.iter("testcase")]


def read_run(path):
    """The cases of a ctest run, each GoogleTest program replaced by its own cases."""
    cases = []
    for case in read_suite(path):
        inner_path = os.path.join(path.removesuffix(".xml") + ".gtest", case.name + ".xml")
        if case.skipped or not os.path.exists(inner_path):
            cases.append(case)
            continue
        inner = [c._replace(suite=case.suite) for c in read_suite(inner_path)]
        cases += [c._replace(name=f"{case.name}: {c.name}") for c in inner]
        if case.failure is not None and all(c.failure is None for c in inner):
            cases.append(case)  # the program failed although its tests did not: a leak, a crash
    return cases


def read_folder(folder):
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*.xml")))
    return [case for path in paths for case in read_run(path)]


def report(folder, out):
    """Prints the failures and the sum; the exit status."""
    cases = read_folder(folder)
    failed = [case for case in cases if case.failure is not None]
    skipped = [case for case in cases if case.skipped]
    passed = len(cases) - len(failed) - len(skipped)
    for case in failed:
        lines = case.failure.strip().splitlines() or [""]
        print(f"FAILED {case.suite}: {case.name}", file=out)
        for line in lines[-12:]:
            print(f"    {line}", file=out)
    for case in skipped:
        print(f"skipped {case.suite}: {case.name}", file=out)
    print(f"{passed} passed, {len(failed)} failed", file=out)
    return 1 if failed or passed == 0 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    case = commands.add_parser("case", help="record one step")
    case.add_argument("folder")
    case.add_argument("suite")
    case.add_argument("name")
    case.add_argument("seconds", type=float)
    case.add_argument("--failed", metavar="WHY")
    total = commands.add_parser("sum", help="print the failures and the sum")
    total.add_argument("folder")
    options = parser.parse_args()
    if options.command == "sum":
        return report(options.folder, sys.stdout)
    path = os.path.join(options.folder, f"{options.suite}.xml")
    cases = read_suite(path) if os.path.exists(path) else []
    cases.append(Case(options.suite, options.name, options.failed, seconds=options.seconds))
    write_suite(path, options.suite, cases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
