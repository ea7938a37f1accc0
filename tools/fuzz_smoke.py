#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every fuzz target for some seconds, several at a time. Called by `./dev fuzz smoke`.

    fuzz_smoke.py --binaries build/fuzz/bin/fuzz --work build [--seconds 10] [--jobs 2] [--junit F]

The corpus of target NAME grows in WORK/fuzz-corpus/NAME; fuzz/seeds/NAME/ seeds it, and
src/**/NAME.dict is its dictionary. What crashes a target is kept in WORK/fuzz-crashes. The target
canary_fuzz must crash within the time, with a report of AddressSanitizer.

Without --seconds a target gets what AIRLOCK_FUZZ_SECONDS says, or else 10 s.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import results  # noqa: E402

CANARY = "canary_fuzz"
INPUT_TIMEOUT_S = 10  # a single input that takes longer is a finding
MEMORY_MB = 2048
GRACE_S = 60  # beyond the fuzzing time, before a target counts as hung
SECONDS = 10  # for each target
REPO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def command_of(binary, seconds, work):
    """The command line that fuzzes `binary`, and creates the folders that it writes to."""
    name = os.path.basename(binary)
    corpus = os.path.join(work, "fuzz-corpus", name)
    crashes = os.path.join(work, "fuzz-crashes")
    os.makedirs(corpus, exist_ok=True)
    os.makedirs(crashes, exist_ok=True)
    command = [
        binary,
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={os.path.join(crashes, name)}-",
        "-print_final_stats=1",
    ]
    source = os.path.join(glob.escape(os.path.normpath(REPO)), "src", "**")
    for dictionary in glob.glob(os.path.join(source, name + ".dict"), recursive=True):
        command.append(f"-dict={dictionary}")
    if name == CANARY:
        command.append("-close_fd_mask=0")
    else:
        command.append(corpus)  # the canary starts from nothing each time
    return command + seeds_of(name)


def seeds_of(name):
    """The folder of the inputs that target `name` starts from, as a list of one or none."""
    folder = os.path.join(os.path.normpath(REPO), "fuzz", "seeds", name)
    return [folder] if os.path.isdir(folder) else []


def seconds_each(environment):
    """How long a target runs if the command line does not say."""
    return int(environment.get("AIRLOCK_FUZZ_SECONDS") or SECONDS)


def verdict(name, status, output):
    """Why the run is a failure; None if it is not."""
    if name == CANARY:
        if status != 0 and "AddressSanitizer: heap-buffer-overflow" in output:
            return None
        return "the canary survived: neither the fuzzer nor AddressSanitizer can be trusted"
    if status == 0:
        return None
    tail = "\n".join(output.splitlines()[-30:])
    return f"exit status {status}; the input is in build/fuzz-crashes\n{tail}"


def sanitizer_environment():
    return dict(
        os.environ,
        ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
    )


def run_target(binary, seconds, work):
    """(the result as a Case, the output) of fuzzing `binary`."""
    name = os.path.basename(binary)
    start = time.monotonic()
    try:
        result = subprocess.run(
            command_of(binary, seconds, work),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=sanitizer_environment(),
            timeout=seconds + GRACE_S,
            check=False,
        )
        status, output = result.returncode, result.stdout
    except subprocess.TimeoutExpired as expired:
        status, output = -1, (expired.stdout or b"") + b"\nhung, and was killed"
    text = output.decode(errors="replace")
    log = os.path.join(work, "fuzz-crashes", f"{name}.log")
    with open(log, "w", encoding="utf-8") as file:
        file.write(text)
    failure = verdict(name, status, text)
    return results.Case("fuzz", name, failure, seconds=time.monotonic() - start), text


def units_of(output):
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    return int(found.group(1)) if found else 0


def find_targets(folder):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if name.endswith("_fuzz")]
    return [os.path.abspath(path) for path in paths if os.access(path, os.X_OK)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binaries", required=True, help="the folder of the fuzz targets")
    parser.add_argument("--work", required=True, help="the folder for corpora and crashes")
    parser.add_argument("--seconds", type=int, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--junit", help="also write the results there")
    options = parser.parse_args()
    targets = find_targets(options.binaries)
    if CANARY not in [os.path.basename(target) for target in targets]:
        print(f"fuzz: no {CANARY} in {options.binaries}: build first", file=sys.stderr)
        return 1
    try:
        seconds = options.seconds or seconds_each(os.environ)
    except ValueError:
        parser.error("AIRLOCK_FUZZ_SECONDS is no number of seconds: for example 30")
    print(f"fuzz: {len(targets)} targets, {seconds} s each, {options.jobs} at a time", flush=True)
    cases = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(run_target, target, seconds, options.work) for target in targets]
        for run in concurrent.futures.as_completed(runs):
            case, output = run.result()
            cases.append(case)
            word = "ok    " if case.failure is None else "FAILED"
            inputs = units_of(output)
            print(f"{word} {case.name} ({inputs} inputs, {case.seconds:.0f} s)", flush=True)
            if case.failure is not None:
                print(case.failure, flush=True)
    if options.junit:
        results.write_suite(options.junit, "fuzz", sorted(cases))
    return 1 if any(case.failure is not None for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
