#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks one check at a time and sees that a test notices: are the tests worth what they say?

    python3 tools/mutate.py                     every mutation of tools/mutations/*.toml
    python3 tools/mutate.py range-wrap-guard    these only; `core/` names those of a file
    python3 tools/mutate.py --check-applies     no build: each text occurs exactly once in its file
    python3 tools/mutate.py --list

The tree is copied to build/mutate/tree and built there, so that yours stays as it is. Prints
`killed NAME by TEST` or `SURVIVED NAME`; status 1 if one survives, does not apply or does not
build. A mutation is a table of a TOML file; its tests are ctest names, and the targets to build:

    [range-wrap-guard]
    file = "src/core/range.h"
    text = "length <= limit && offset <= limit - length"
    with = "offset + length <= limit"
    tests = ["core_test"]
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tomllib
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402  (beside this file)

REPO = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
TEST_TIMEOUT_S = 60  # a test that hangs has noticed, too
KEYS = {"file", "text", "with", "tests"}


class Mutation(NamedTuple):
    name: str
    group: str  # the file that it is in, without .toml
    file: str
    text: str
    replacement: str
    tests: tuple


class BadMutation(Exception):
    """A mutation that says nothing about the tests, because it can't be made."""


def parse(group, text):
    """The mutations of one TOML file."""
    found = []
    for name, table in tomllib.loads(text).items():
        if not isinstance(table, dict) or set(table) != KEYS:
            raise BadMutation(f"{group}.toml: {name}: has to have {', '.join(sorted(KEYS))}")
        found.append(Mutation(name, group, table["file"], table["text"], table["with"],
                              tuple(table["tests"])))  # fmt: skip
    return found


def load(folder):
    """Every mutation of `folder`, by name. A name stands for one mutation only."""
    by_name = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.toml"))):
        with open(path, encoding="utf-8") as file:
            group = os.path.basename(path).removesuffix(".toml")
            for mutation in parse(group, file.read()):
                if mutation.name in by_name:
                    raise BadMutation(f"{group}.toml: {mutation.name}: is there twice")
                by_name[mutation.name] = mutation
    return by_name


def select(by_name, wanted):
    """The mutations that `wanted` names, all if it is empty."""
    if not wanted:
        return list(by_name.values())
    chosen = []
    for word in wanted:
        hits = [m for m in by_name.values() if word in (m.name, m.group, m.group + "/")]
        if not hits:
            raise BadMutation(f"{word}: no such mutation: --list shows them")
        chosen += [mutation for mutation in hits if mutation not in chosen]
    return chosen


def apply(mutation, source):
    """`source` with the mutation made. Raises BadMutation unless it fits exactly once."""
    count = source.count(mutation.text)
    if count != 1:
        raise BadMutation(f"{mutation.name}: its text is {count} times in {mutation.file}")
    if mutation.text == mutation.replacement:
        raise BadMutation(f"{mutation.name}: changes nothing")
    return source.replace(mutation.text, mutation.replacement)


def why_not(mutation, repo):
    """Why the mutation can't be made in the tree at `repo`; None if it can."""
    try:
        with open(os.path.join(repo, mutation.file), encoding="utf-8") as file:
            apply(mutation, file.read())
    except OSError as error:
        return f"{mutation.name}: {mutation.file}: {error.strerror}"
    except BadMutation as error:
        return str(error)
    return None


# --- the copy ---------------------------------------------------------------------------------


def write_if_changed(path, data):
    """Leaves a file that is already so with its time, so that nothing is built again."""
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def copy_tree(repo, target):
    """Makes the files of `target` those that git knows or would know in `repo`."""
    names = {name for name in tidy.list_files(repo) if os.path.isfile(os.path.join(repo, name))}
    for name in sorted(names):
        with open(os.path.join(repo, name), "rb") as file:
            write_if_changed(os.path.join(target, name), file.read())
    for folder, folders, files in os.walk(target):
        folders[:] = [name for name in folders if name != "build"]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.relpath(path, target) not in names:
                os.remove(path)


class Copy:
    """A copy of the tree with a debug build of its own."""

    def __init__(self, root, jobs):
        self.root = root
        self.jobs = str(jobs)
        # What the copy compiles is found in ccache wherever it stands, and is found again.
        self.environment = dict(os.environ, CCACHE_BASEDIR=root, CCACHE_NOHASHDIR="1")

    def run(self, *command):
        """(status, output) of a command in the copy."""
        result = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return result.returncode, result.stdout.decode(errors="replace")

    def build(self, targets):
        """Raises BadMutation with the compiler's words if it fails."""
        if not os.path.exists(os.path.join(self.root, "build/debug/build.ninja")):
            status, output = self.run("cmake", "--preset", "debug")
            if status != 0:
                raise BadMutation(f"cmake: {output[-2000:]}")
        status, output = self.run(
            "cmake", "--build", "build/debug", "--parallel", self.jobs, "--target", *targets
        )
        if status != 0:
            said = re.compile(r": error: |CMake Error|Cannot find")
            errors = [line for line in output.splitlines() if said.search(line)]
            raise BadMutation("does not build: " + "\n".join(errors[:5] or [output[-1000:]]))

    def failing(self, tests):
        """The first of `tests` that fails; None if all pass."""
        for test in tests:
            status, _ = self.run(
                "ctest", "--test-dir", "build/debug", "--no-tests=error", "--output-on-failure",
                "--timeout", str(TEST_TIMEOUT_S), "--tests-regex", f"^{test}$",
            )  # fmt: skip
            if status != 0:
                return test
        return None


def try_one(copy, mutation):
    """The test that kills the mutation; None if it survives. Leaves the copy as it was."""
    path = os.path.join(copy.root, mutation.file)
    with open(path, encoding="utf-8") as file:
        source = file.read()
    changed = apply(mutation, source)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(changed)
        copy.build(mutation.tests)
        return copy.failing(mutation.tests)
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)


def run(mutations, repo, jobs):
    """Makes each mutation in turn; the exit status."""
    root = os.path.join(repo, "build", "mutate", "tree")
    copy_tree(repo, root)
    copy = Copy(root, jobs)
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    try:
        copy.build(tests)
    except BadMutation as error:
        print(f"mutate: the tree itself: {error}", file=sys.stderr)
        return 1
    broken = copy.failing(tests)
    if broken:
        print(f"mutate: {broken} fails without a mutation: mend it first", file=sys.stderr)
        return 1
    bad = 0
    for mutation in sorted(mutations, key=lambda mutation: (mutation.file, mutation.name)):
        try:
            test = try_one(copy, mutation)
        except BadMutation as error:
            bad += 1
            print(f"INVALID {mutation.name}: {error}", flush=True)
            continue
        bad += test is None
        print(f"killed {mutation.name} by {test}" if test else f"SURVIVED {mutation.name}",
              flush=True)  # fmt: skip
    print(f"mutate: {len(mutations) - bad} of {len(mutations)} killed")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    parser.add_argument("--check-applies", action="store_true", help="build nothing")
    parser.add_argument("name", nargs="*", help="a mutation, or a file of tools/mutations")
    options = parser.parse_args()
    try:
        by_name = load(os.path.join(options.repo, "tools", "mutations"))
        mutations = select(by_name, options.name)
    except (BadMutation, tomllib.TOMLDecodeError) as error:
        print(f"mutate: {error}", file=sys.stderr)
        return 2
    if options.list:
        for mutation in mutations:
            print(f"{mutation.group}/{mutation.name}: {mutation.file}")
        return 0
    if options.check_applies:
        faults = [why for why in (why_not(m, options.repo) for m in mutations) if why]
        for why in faults:
            print(why)
        return 1 if faults else 0
    return run(mutations, os.path.abspath(options.repo), options.jobs)


if __name__ == "__main__":
    sys.exit(main())
