# SPDX-License-Identifier: Apache-2.0
"""A disk in a guest: QEMU's own, with and without swiotlb, and ours: `./dev bench vm`.

Writes DATE-vm.json and DATE-vm.md into bench/results/."""

import os
import pathlib
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRLOCK", str(REPO / "build/bench/bin/airlock"))
sys.path.insert(0, str(REPO / "tests"))  # harness: what tests, benchmarks and ./run share

from airlock_bench import in_guest  # noqa: E402
from airlock_vm import measure, report  # noqa: E402


def add_options(parser):
    parser.add_argument("--seconds", type=int, default=2, metavar="N", help="of a run (2)")
    parser.add_argument("--size", type=int, default=256, metavar="MIB", help="of each disk (256)")


if __name__ == "__main__":
    in_guest.main("vm", __doc__.split("\n")[0], add_options, measure.measure, report.text)
