# SPDX-License-Identifier: Apache-2.0
"""What the command lines of all benchmarks have."""

import pathlib

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"


def add_results(parser, made):
    """--out and --from; `made`: what is made of earlier results."""
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS, metavar="FOLDER",
                        help="where results go (bench/results)")
    parser.add_argument("--from", dest="source", type=pathlib.Path, metavar="JSON",
                        help=f"measure nothing: {made} of these results")
