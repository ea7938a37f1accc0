# SPDX-License-Identifier: Apache-2.0
"""A disk in a guest: QEMU's own, with and without swiotlb, and ours: `./dev bench vm`.

Writes DATE-vm.json and DATE-vm.md into bench/results/."""

import argparse
import datetime
import json
import os
import pathlib
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRLOCK", str(REPO / "build/bench/bin/airlock"))
sys.path.insert(0, str(REPO / "tests"))  # harness: what tests, benchmarks and ./run share

from airlock_bench import arguments, machine  # noqa: E402
from airlock_bench.results import dump  # noqa: E402
from airlock_vm import measure, report  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="./dev bench vm", description=__doc__.split("\n")[0],
                                     epilog="example: ./dev bench vm --rounds 1 --out /tmp")
    parser.add_argument("--kernel", default="6.12", help="the guest's (6.12)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(5)")
    parser.add_argument("--seconds", type=int, default=2, metavar="N", help="of a run (2)")
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="of each disk (256)")
    arguments.add_results(parser, "the tables")
    options = parser.parse_args()
    if options.source:
        results = json.loads(options.source.read_text())
    else:
        results = {"date": datetime.date.today().isoformat(), "machine": machine.describe(),
                   "command": " ".join(["./dev bench vm", *sys.argv[1:]]),
                   "kernel": options.kernel, "accelerator": "TCG", "rounds": options.rounds,
                   "seconds": options.seconds, "size_mib": options.size}
        results |= measure.measure(options.kernel, options.rounds, options.seconds,
                                   options.size << 20,
                                   lambda step: print(step, file=sys.stderr))
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{results['date']}-vm"
    stem.with_suffix(".json").write_text(dump(results))
    stem.with_suffix(".md").write_text(report.text(results))
    print(stem.with_suffix(".json"), stem.with_suffix(".md"), sep="\n")


if __name__ == "__main__":
    main()
