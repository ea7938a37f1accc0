#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says how much of the code that faces a peer the unit tests run. Called by `./dev coverage`.

    python3 tools/coverage.py --build build/coverage                the folders of FOLDERS, by file
    python3 tools/coverage.py --build build/coverage pci --missing  the lines of pci/ that never ran

The build has to be one of the preset coverage whose tests have run. A line that no test can reach
says why, on itself or on the line above, and the list of --missing repeats it:

    return fail(system_error());  // uncovered: memfd_create fails only without memory
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from typing import NamedTuple

FOLDERS = ("core", "window", "ring", "pool", "pci")
GOAL = 95.0  # per cent of a folder's lines
REPO = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
_REASON = re.compile(r"//\s*uncovered:\s*(\S.*?)\s*$")


class File(NamedTuple):
    path: str
    lines: int
    lines_run: int
    branches: int
    branches_taken: int
    missing: tuple  # numbers of the lines that never ran


def read(report):
    """The Files of what `gcovr --json` wrote, those that have code."""
    files = []
    for entry in report["files"]:
        runs = {}
        branches = {}
        for line in entry["lines"]:
            if line.get("gcovr/noncode"):
                continue
            number = line["line_number"]
            runs[number] = runs.get(number, 0) + line["count"]
            counts = branches.setdefault(number, [])
            counts += [branch["count"] for branch in line.get("branches", [])]
        taken = [count > 0 for counts in branches.values() for count in counts]
        missing = tuple(sorted(number for number, count in runs.items() if count == 0))
        if runs:
            files.append(File(entry["file"], len(runs), len(runs) - len(missing),
                              len(taken), sum(taken), missing))  # fmt: skip
    return sorted(files)


def folder_of(path):
    return path.split("/")[1]


def share(part, whole):
    return 100.0 * part / whole if whole else 100.0


def spans(numbers):
    """(first, last) of each run of consecutive numbers."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [tuple(span) for span in found]


def reason_of(lines, number):
    """Why line `number` (from 1) of a source never runs; None if it does not say."""
    for at in (number, number - 1):
        match = _REASON.search(lines[at - 1]) if 1 <= at <= len(lines) else None
        if match:
            return match.group(1)
    return None


def gaps_of(file, text):
    """`path:first-last: reason` for each gap of a file; a gap ends where its reason does."""
    lines = text.split("\n")
    for first, last in spans(file.missing):
        where = f"{file.path}:{first}" + (f"-{last}" if last > first else "")
        reasons = [reason_of(lines, number) for number in range(first, last + 1)]
        reason = next((one for one in reasons if one), None)
        code = " ".join(lines[first - 1].split())
        yield f"{where}: {reason}" if reason else f"{where}: no reason given: {code[:60]}"


def _row(name, files):
    lines, run = sum(f.lines for f in files), sum(f.lines_run for f in files)
    branches, taken = sum(f.branches for f in files), sum(f.branches_taken for f in files)
    return (f"{name:<44} {run:>5}/{lines:<5} {share(run, lines):5.1f} %   "
            f"{taken:>5}/{branches:<5} {share(taken, branches):5.1f} %")  # fmt: skip


def report(files, folders, out):
    """Prints the table; False if a folder misses the goal."""
    reached = True
    print(f"{'':<44} {'lines':>11} {'':>7}   {'branches':>11}", file=out)
    for folder in folders:
        own = [file for file in files if folder_of(file.path) == folder]
        for file in own:
            print(_row(file.path, [file]), file=out)
        lines, run = sum(f.lines for f in own), sum(f.lines_run for f in own)
        if not own:
            print(f"src/{folder}: nothing of it was built", file=out)
        good = bool(own) and share(run, lines) >= GOAL
        reached = reached and good
        word = "reached" if good else "NOT REACHED"
        print(_row(f"src/{folder}: {GOAL:.0f} % of lines {word}", own), file=out)
    return reached


def run_gcovr(build, folders):
    """What gcovr has to say of src/FOLDER, tests and fuzz targets left out."""
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "coverage.json")
        command = [
            "gcovr", "--root", REPO, "--json", path, "-j", str(os.cpu_count() or 1),
            "--exclude-throw-branches", "--exclude-unreachable-branches",
            "--exclude", r".*_(test|fuzz|bench)\.cc$",
        ]  # fmt: skip
        for folder in folders:
            command += ["--filter", re.escape(os.path.join(REPO, "src", folder, ""))]
        # gcov leaves its files where it runs.
        subprocess.run([*command, "."], cwd=build, check=True)
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", required=True, help="the folder of the coverage build")
    parser.add_argument("--missing", action="store_true", help="list the lines that never ran")
    parser.add_argument("folder", nargs="*", help=f"of src/; {', '.join(FOLDERS)} if none")
    options = parser.parse_args()
    folders = [folder.strip("/").removeprefix("src/") for folder in options.folder or FOLDERS]
    for folder in folders:
        if not os.path.isdir(os.path.join(REPO, "src", folder)):
            parser.error(f"src/{folder} is no folder: name one of src/")
    try:
        files = read(run_gcovr(options.build, folders))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"coverage: gcovr: {error}: tools/install-deps coverage", file=sys.stderr)
        return 1
    reached = report(files, folders, sys.stdout)
    if options.missing:
        for file in files:
            with open(os.path.join(REPO, file.path), encoding="utf-8") as source:
                for gap in gaps_of(file, source.read()):
                    print(gap)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
