# SPDX-License-Identifier: Apache-2.0
"""What devices cost at rest, and how that grows: `./dev bench scale`.

Writes DATE-scale.json, its tables as DATE-scale.md and a plot as DATE-scale.svg. As root."""

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
from airlock_scale import measure, plots, report  # noqa: E402


def write(results, folder):
    """The three files; their names."""
    stem = folder / f"{results['date']}-scale"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    files = [stem.with_suffix(".json"), stem.with_suffix(".md")]
    plot = stem.with_suffix(".svg")
    try:
        plots.draw(results, plot)
        files.append(plot)
    except ImportError:
        print("scale: no plot: there is no matplotlib: install python3-matplotlib", file=sys.stderr)
        plot = None
    stem.with_suffix(".md").write_text(report.text(results, plot.name if plot else None))
    return files


def main():
    parser = argparse.ArgumentParser(prog="./dev bench scale", description=__doc__.split("\n")[0],
                                     epilog="example: ./dev bench scale --quick --out /tmp")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter: to try it")
    arguments.add_results(parser, "tables and plot")
    options = parser.parse_args()
    if options.source:
        results = json.loads(options.source.read_text())
    elif os.geteuid() != 0:
        parser.error("a device in its sandbox shows its memory to root only: run it as root")
    else:
        results = {"date": datetime.date.today().isoformat(), "machine": machine.describe()}
        results |= measure.all_of(options.quick, lambda step: print(step, file=sys.stderr))
    options.out.mkdir(parents=True, exist_ok=True)
    files = write(results, options.out)
    print(files[1].read_text() if options.quick else "", end="")
    print(*files, sep="\n")


if __name__ == "__main__":
    main()
