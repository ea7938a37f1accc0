# SPDX-License-Identifier: Apache-2.0
"""What a map and an unmap cost: our pool, Linux's algorithm, the copies alone: `./dev bench pool`.

Writes DATE-pool.json (what the micro-benchmark said) and its tables as DATE-pool.md."""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import textwrap
from typing import NamedTuple

from airlock_bench import arguments, machine
from airlock_bench.spread import ratio, spread

REPO = pathlib.Path(__file__).resolve().parent.parent
BINARY = REPO / "build/bench/bin/bench/pool_bench"
SIZES = {512: "512 B", 4096: "4 KiB", 65536: "64 KiB", 1 << 20: "1 MiB"}
FULL = {0: "empty", 10: "10 %", 50: "50 %", 90: "90 %"}
DIRECTIONS = {"to_device": "to the device", "from_device": "from it"}
COPIES_AT_MOST = 1.3  # times the copies alone, of 4 KiB
FULL_AT_MOST = 2.0  # times as long at 90 % as in an empty pool


class Case(NamedTuple):
    """One benchmark, as its name says it."""

    side: str
    direction: str
    size: int
    full: int
    threads: int


def measure(repetitions, seconds):
    """Runs the benchmark, its cases shuffled among each other; what it said."""
    command = [BINARY, "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
               f"--benchmark_min_time={seconds}", "--benchmark_enable_random_interleaving=true"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said = json.loads(done.stdout)
    runs = [{key: run[key] for key in ("name", "threads", "real_time", "cpu_time")}
            for run in said["benchmarks"] if run["run_type"] == "iteration"]
    return {"date": datetime.date.today().isoformat(), "machine": machine.describe(),
            "repetitions": repetitions, "seconds": seconds, "runs": runs}


def times(results):
    """Nanoseconds of a processor for one map and unmap: case -> their Spread."""
    found = {}
    for run in results["runs"]:
        words = run["name"].split("/")
        if words[0] == "pin_unpin":
            case = Case("pin", "", int(words[1]), 0, 1)
        else:
            case = Case(words[0], words[1], int(words[2]), int(words[3]), run["threads"])
        found.setdefault(case, []).append(run["cpu_time"])
    return {case: spread(values) for case, values in found.items()}


def verdicts(found):
    """Rows of the table of targets."""
    rows = []
    for direction, words in DIRECTIONS.items():
        ours = found[Case("ours", direction, 4096, 0, 1)].median
        copies = found[Case("copies", direction, 4096, 0, 1)].median
        rows.append([f"4 KiB {words}: times the copies that it must do",
                     f"at most {COPIES_AT_MOST}", *_judged(ratio(ours, copies), COPIES_AT_MOST)])
    worst = max(ratio(spread_.median, found[case._replace(full=0)].median)
                for case, spread_ in found.items() if case.side == "ours" and case.full == 90)
    rows.append(["90 % full, the worst of all: times an empty pool", f"at most {FULL_AT_MOST}",
                 *_judged(worst, FULL_AT_MOST)])
    return rows


def text(results):
    """The page."""
    found, about = times(results), results["machine"]
    intro = (
        f"`./dev bench pool`, on {about['cpus']} x {about['cpu']}, Linux {about['kernel']}: "
        "nanoseconds of a processor for one map and unmap, medians of "
        f"{results['repetitions']} runs of at least {results['seconds']} s, shuffled. The pool has "
        "64 MiB, an area for each thread, and was filled with mappings of that size, of which "
        "random ones were given back.")
    terms = (
        "*copies*: the C library's memcpy into the region or out of it, and memset of what was "
        "there: what we must do, whatever the direction. *Linux*: the algorithm of swiotlb "
        "(src/pool/linux_model.h), which zeroes nothing, copies in for every direction, and takes "
        "1 MiB as four mappings of 256 KiB.")
    lines = [f"# The pool, {results['date']}", "", *_paragraph(intro), "", *_paragraph(terms), "",
             *_table(["what", "target", "measured", "reached"], verdicts(found))]
    for threads, words in ((1, "One thread"), (2, "Two threads")):
        lines += ["", f"## {words}", "", *_grid(found, threads)]
    lines += ["", "## Other ways, one thread, an empty pool", "", *_others(found)]
    return "\n".join(lines) + "\n"


def _grid(found, threads):
    head = ["", "copies", *(f"ours, {words}" for words in FULL.values()),
            *(f"Linux, {words}" for words in FULL.values()), "ours / copies", "Linux / ours"]
    rows = []
    for size, size_words in SIZES.items():
        for direction, words in DIRECTIONS.items():
            def of(side, full=0):
                return found[Case(side, direction, size, full, threads)].median
            rows.append([f"{size_words} {words}", _ns(of("copies")),
                         *(_ns(of("ours", full)) for full in FULL),
                         *(_ns(of("linux", full)) for full in FULL),
                         _times(ratio(of("ours"), of("copies"))),
                         _times(ratio(of("linux"), of("ours")))])
    return _table(head, rows)


def _others(found):
    rows = []
    for size, size_words in SIZES.items():
        for direction, words in DIRECTIONS.items():
            rows.append([f"{size_words} {words}",
                         *(_ns(found[Case(side, direction, size, 0, 1)].median)
                           for side in ("memcpy", "ours", "ours_scrub_on_map"))])
    pins = ", ".join(f"{SIZES[case.size]}: {_ns(one.median)}" for case, one in found.items()
                     if case.side == "pin")
    return [*_table(["", "memcpy alone", "ours", "ours, zeroed when used next"], rows), "",
            f"To pin and unpin a buffer that is used in place (ns): {pins}."]


def _judged(value, most):
    return [_times(value), "yes" if value <= most else "NO"]


def _ns(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _times(value):
    return f"{value:.2f}"


def _paragraph(words):
    return textwrap.wrap(words, 115, break_on_hyphens=False)


def _table(head, rows):
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def main():
    parser = argparse.ArgumentParser(prog="./dev bench pool", description=__doc__.split("\n")[0],
                                     epilog="example: ./dev bench pool --quick --out /tmp")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter: to try it")
    arguments.add_results(parser, "the tables")
    options = parser.parse_args()
    if options.source:
        results = json.loads(options.source.read_text())
    else:
        results = measure(*((1, 0.01) if options.quick else (7, 0.05)))
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{results['date']}-pool"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    stem.with_suffix(".md").write_text(text(results))
    print(f"pool: {stem.with_suffix('.md')}", file=sys.stderr)


if __name__ == "__main__":
    main()
