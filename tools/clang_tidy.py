#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the compilation database, in parallel, remembering what was clean.

    clang_tidy.py --build build/debug [--quick] [--jobs 2] [--junit FILE] [PATH...]

With --quick tests and the static analyzer are left out, and the sources of a folder are checked as
one unit, which takes a fifth of the time. A source is not looked at again while it, the headers of
ours that it reaches, its compiler flags, .clang-tidy and clang-tidy itself are what they were when
it was clean. The memory is one empty file per clean state in $AIRLOCK_TIDY_CACHE, by default
~/.cache/airlock/tidy.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import results  # noqa: E402

CLANG_TIDY = "clang-tidy-19"
REPO = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
ROOTS = ("src/", "tests/")
# Tests face no hostile peer, and every check walks all of GoogleTest's headers: only the checks
# that find what a test gets wrong.
TEST_CHECKS = ",".join(
    """
    -* readability-identifier-naming google-explicit-constructor google-build-using-namespace
    bugprone-use-after-move bugprone-dangling-handle bugprone-unused-raii bugprone-sizeof-expression
    bugprone-unused-return-value bugprone-redundant-branch-condition bugprone-infinite-loop
    bugprone-implicit-widening-of-multiplication-result bugprone-argument-comment
    concurrency-thread-canceltype-asynchronous misc-unused-using-decls misc-unused-alias-decls
    misc-redundant-expression modernize-use-override modernize-use-equals-default
    performance-for-range-copy performance-unnecessary-copy-initialization
    """.split()
)
QUICK_CHECKS = "-clang-analyzer-*"  # beside those of .clang-tidy
# g++'s flags that clang does not know are no finding.
EXTRA = [
    "--extra-arg=-Wno-unknown-warning-option",
    "--extra-arg=-Wno-ignored-optimization-argument",
]


def is_test(path):
    return path.startswith("tests/") or path.endswith("_test.cc")


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def reached_headers(path, seen):
    """Adds to `seen` the repository paths that `path` includes, itself among them."""
    if path in seen:
        return
    seen.add(path)
    text = read_bytes(os.path.join(REPO, path)).decode(errors="replace")
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE):
        for root in ("src", "", os.path.dirname(path)):
            candidate = os.path.normpath(os.path.join(root, name))
            if os.path.isfile(os.path.join(REPO, candidate)):
                reached_headers(candidate, seen)
                break


def configurations_of(path):
    """The .clang-tidy files that hold for `path`, outermost first."""
    folders = [""]
    for part in os.path.dirname(path).split("/"):
        folders.append(os.path.join(folders[-1], part))
    names = [os.path.join(folder, ".clang-tidy") for folder in folders]
    return [name for name in names if os.path.isfile(os.path.join(REPO, name))]


def flags_of(entry):
    return entry.get("command") or shlex.join(entry["arguments"])


def state_of(path, entry, version, quick):
    """A digest of everything that decides what clang-tidy says about `path`."""
    digest = hashlib.sha256(b"quick" if quick else b"")
    flags = flags_of(entry)
    # Two clones of one state are the same state.
    flags = flags.replace(REPO, ".")
    digest.update("\0".join([version, path, flags, TEST_CHECKS, *EXTRA]).encode())
    reached = set()
    reached_headers(path, reached)
    for name in sorted(reached) + configurations_of(path):
        digest.update(b"\0" + name.encode() + b"\0" + read_bytes(os.path.join(REPO, name)))
    return digest.hexdigest()


def run(command):
    """Status, findings with paths of the repository, seconds."""
    start = time.monotonic()
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    text = result.stdout.decode(errors="replace")
    if result.returncode != 0 and "error" not in text:
        text += result.stderr.decode(errors="replace")
    return result.returncode, text.replace(REPO + "/", ""), time.monotonic() - start


def run_one(path, build, quick):
    command = [CLANG_TIDY, "--quiet", "-p", build, *EXTRA]
    if is_test(path):
        command.append(f"--checks={TEST_CHECKS}")
    elif quick:
        command.append(f"--checks={QUICK_CHECKS}")
    return run([*command, os.path.join(REPO, path)])


def run_together(paths, entry, build):
    """All of `paths`, which are compiled with the same flags, as one unit."""
    folder = os.path.join(build, "tidy")
    os.makedirs(folder, exist_ok=True)
    unit = os.path.join(folder, os.path.dirname(paths[0]).replace("/", "_") + ".cc")
    with open(unit, "w", encoding="utf-8") as file:
        for path in paths:
            file.write(f'#include "{os.path.join(REPO, path)}"  // NOLINT\n')
    flags = shlex.split(flags_of(entry))
    flags = flags[next(i for i, flag in enumerate(flags) if flag.startswith("-")) :]
    for flag in ("-o", "-MF", "-MT", "-c"):
        if flag in flags:
            place = flags.index(flag)
            del flags[place : place + 2]
    command = [CLANG_TIDY, "--quiet", f"--checks={QUICK_CHECKS}", *EXTRA]
    # Names of one source that hide another's are two names.
    command += ["--extra-arg=-Wno-shadow", unit, "--", *flags]
    return run(command)


def sources_of(build, wanted):
    """Repository path -> entry of the compilation database, restricted to src/ and tests/."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    sources = {}
    for entry in entries:
        name = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
        path = os.path.relpath(name, REPO)
        if not path.startswith(ROOTS) or not os.path.isfile(name):
            continue
        if wanted and not any(path == w or path.startswith(w.rstrip("/") + "/") for w in wanted):
            continue
        sources.setdefault(path, entry)
    return sources


class Cache:
    def __init__(self):
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.folder = os.environ.get("AIRLOCK_TIDY_CACHE") or os.path.join(base, "airlock", "tidy")
        os.makedirs(self.folder, exist_ok=True)

    def was_clean(self, state):
        return os.path.exists(os.path.join(self.folder, state))

    def remember(self, state):
        with open(os.path.join(self.folder, state), "w", encoding="utf-8"):
            pass


class Checker:
    """Checks groups of sources: one source, or a folder's with --quick."""

    def __init__(self, options, version, sources):
        self.quick = options.quick
        self.build = options.build
        self.sources = sources
        self.version = version
        self.cache = Cache()

    def state(self, path, quick):
        return state_of(path, self.sources[path], self.version, quick)

    def was_clean(self, path):
        if self.cache.was_clean(self.state(path, False)):
            return True
        return self.quick and self.cache.was_clean(self.state(path, True))

    def groups(self):
        """What is to be looked at, and what is known to be clean."""
        unknown = [path for path in sorted(self.sources) if not self.was_clean(path)]
        known = [path for path in sorted(self.sources) if path not in set(unknown)]
        if not self.quick:
            return [[path] for path in unknown], known
        together = {}
        for path in unknown:
            alone = not path.startswith("src/") or not path.endswith(".cc")
            alone = alone or path.endswith(("_fuzz.cc", "_bench.cc"))
            key = path if alone else os.path.dirname(path)
            together.setdefault(key, []).append(path)
        return list(together.values()), known

    def check(self, paths):
        if len(paths) == 1:
            status, output, seconds = run_one(paths[0], self.build, self.quick)
        else:
            status, output, seconds = run_together(paths, self.sources[paths[0]], self.build)
        if status == 0:
            for path in paths:
                self.cache.remember(self.state(path, self.quick))
            return [results.Case("clang-tidy", path, None, seconds=seconds) for path in paths]
        # What is found belongs to the source that it is in; to the first if it is in none.
        found = [path for path in paths if path in output] or paths[:1]
        return [
            results.Case(
                "clang-tidy",
                path,
                (output or f"status {status}") if path in found else None,
                seconds=seconds,
            )
            for path in paths
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="folder of compile_commands.json")
    parser.add_argument("--quick", action="store_true", help="without tests and the analyzer")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--junit", help="also write the results there, one case a source")
    parser.add_argument("path", nargs="*", help="only these files and folders of the repository")
    options = parser.parse_args()
    command = [CLANG_TIDY, "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wanted = [os.path.relpath(os.path.realpath(path), REPO) for path in options.path]
    sources = sources_of(options.build, wanted)
    if options.quick:
        sources = {path: entry for path, entry in sources.items() if not is_test(path)}
    if not sources:
        print(f"clang-tidy: nothing of src/ and tests/ in {options.build}", file=sys.stderr)
        return 1
    checker = Checker(options, version, sources)
    groups, known = checker.groups()
    cases = [results.Case("clang-tidy", path, None) for path in known]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(checker.check, paths) for paths in groups]
        seen = set()  # findings in a header come once for each source that includes it
        for run in concurrent.futures.as_completed(runs):
            found = run.result()
            cases += found
            for line in "\n".join(case.failure or "" for case in found).splitlines():
                is_finding = re.search(r":\d+:\d+: (error|warning):", line)
                if not is_finding or line not in seen:
                    print(line, flush=True)
                seen.add(line)
    bad = [case for case in cases if case.failure is not None]
    counts = f"{len(known)} unchanged since clean, {len(bad)} with findings"
    print(f"clang-tidy: {len(cases)} sources, {counts}", file=sys.stderr)
    if options.junit:
        results.write_suite(options.junit, "clang-tidy", sorted(cases))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
