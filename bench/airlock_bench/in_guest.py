# SPDX-License-Identifier: Apache-2.0
"""The command line of what is measured in one guest."""

import argparse
import datetime
import json
import sys

from . import arguments, machine
from .results import dump


def main(name, about, add_options, measure, text):
    """`./dev bench NAME`: writes DATE-NAME.json, of what measure(options, say) gives, and
    DATE-NAME.md, which text() makes of it, and prints their names."""
    command = f"./dev bench {name}"
    parser = argparse.ArgumentParser(prog=command, description=about,
                                     epilog=f"example: {command} --rounds 1 --out /tmp")
    parser.add_argument("--kernel", default="6.12", help="the guest's (6.12)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(5)")
    add_options(parser)
    arguments.add_results(parser, "the tables")
    options = parser.parse_args()
    if options.source:
        results = json.loads(options.source.read_text())
    else:
        results = {"date": datetime.date.today().isoformat(), "machine": machine.describe(),
                   "command": " ".join([command, *sys.argv[1:]]), "kernel": options.kernel,
                   "accelerator": "TCG (without ERMS, FSRM and FSRS, as it takes "
                   "`rep movsb` and `rep stosb` byte by byte)", "rounds": options.rounds}
        results |= measure(options, lambda step: print(step, file=sys.stderr))
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{results['date']}-{name}"
    stem.with_suffix(".json").write_text(dump(results))
    stem.with_suffix(".md").write_text(text(results))
    print(stem.with_suffix(".json"), stem.with_suffix(".md"), sep="\n")
