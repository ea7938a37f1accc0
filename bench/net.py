# SPDX-License-Identifier: Apache-2.0
"""A network card in a guest: passt's own vhost-user mode, and ours: `./dev bench net`.

Writes DATE-net.json and DATE-net.md into bench/results/."""

import os
import pathlib
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRLOCK", str(REPO / "build/bench/bin/airlock"))
sys.path.insert(0, str(REPO / "tests"))  # harness: what tests, benchmarks and ./run share

from airlock_bench import in_guest  # noqa: E402
from airlock_net import measure, report  # noqa: E402


def add_options(parser):
    parser.add_argument("--size", type=int, default=64, metavar="MIB", help="of a run (64)")


if __name__ == "__main__":
    in_guest.main("net", __doc__.split("\n")[0], add_options, measure.measure, report.text)
