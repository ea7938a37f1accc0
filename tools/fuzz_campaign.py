#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes some targets, or all, for long. Called by `./dev fuzz NAME... --seconds N`.

    fuzz_campaign.py --binaries build/fuzz/bin/fuzz --work build --seconds 600 blk_fuzz
    fuzz_campaign.py --binaries build/fuzz/bin/fuzz --work build --seconds 600 --all

What it finds is kept in WORK/fuzz-corpus/NAME, from campaign to campaign; each begins from that and
from fuzz/seeds/NAME, and at its end leaves only the inputs that reach something of their own. A
target that fails ends its own campaign; what it failed by is named at the end.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fuzz_smoke  # noqa: E402  (beside this file)

MERGE_TIMEOUT_S = 600


def choose(targets, names, everything):
    """The paths of the targets that are wanted. Raises KeyError with a name that is none."""
    by_name = {os.path.basename(path): path for path in targets}
    by_name.pop(fuzz_smoke.CANARY, None)  # it crashes at once, as it must
    if everything:
        return list(by_name.values())
    return [by_name[name] for name in names]


def merge(binary, corpus):
    """Leaves in `corpus` the fewest inputs that reach what it and the seeds reach."""
    seeds = fuzz_smoke.seeds_of(os.path.basename(binary))
    with tempfile.TemporaryDirectory(dir=os.path.dirname(corpus)) as least:
        result = subprocess.run(
            [binary, "-merge=1", f"-timeout={fuzz_smoke.INPUT_TIMEOUT_S}", least, corpus, *seeds],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=fuzz_smoke.sanitizer_environment(),
            timeout=MERGE_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            return  # the corpus is larger than it need be, and as good
        shutil.rmtree(corpus)
        shutil.copytree(least, corpus)


def artifacts_since(start, work, name):
    """The inputs by which target `name` failed since `start` (as time.time() counts)."""
    folder = os.path.join(work, "fuzz-crashes")
    kinds = tuple(f"{name}-{kind}-" for kind in ("crash", "leak", "timeout", "oom", "slow-unit"))
    found = [os.path.join(folder, file) for file in os.listdir(folder) if file.startswith(kinds)]
    return sorted(path for path in found if os.path.getmtime(path) >= start)


def run(binary, seconds, work):
    """(the Case of the campaign, its output, the artifacts)."""
    name = os.path.basename(binary)
    start = time.time() - 1  # file systems have coarse clocks
    case, output = fuzz_smoke.run_target(binary, seconds, work)
    if case.failure is None:
        merge(binary, os.path.join(work, "fuzz-corpus", name))
    return case, output, artifacts_since(start, work, name)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binaries", required=True, help="the folder of the fuzz targets")
    parser.add_argument("--work", required=True, help="the folder for corpora and crashes")
    parser.add_argument("--seconds", type=int, required=True, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--all", action="store_true", help="every target but the canary")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    if options.all == bool(options.name) or options.seconds <= 0:
        parser.error("either NAME... or --all, and some --seconds")
    try:
        targets = fuzz_smoke.find_targets(options.binaries)
        targets = choose(targets, options.name, options.all)
    except KeyError as error:
        parser.error(f"no fuzz target {error.args[0]}: ./dev fuzz list shows them")
    failed = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(run, target, options.seconds, options.work) for target in targets]
        for done in concurrent.futures.as_completed(runs):
            case, output, artifacts = done.result()
            word = "ok    " if case.failure is None else "FAILED"
            corpus = os.listdir(os.path.join(options.work, "fuzz-corpus", case.name))
            inputs = fuzz_smoke.units_of(output)
            print(f"{word} {case.name} ({inputs} inputs, {len(corpus)} kept)", flush=True)
            if case.failure is not None:
                print(case.failure, flush=True)
                failed.append((case.name, artifacts))
    for name, artifacts in failed:
        for path in artifacts:
            print(f"{name} failed by {path}: ./dev fuzz run {name} {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
