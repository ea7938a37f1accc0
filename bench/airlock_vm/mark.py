# SPDX-License-Identifier: Apache-2.0
"""Writes down what processes used so far: `mark.py FILE QEMU PID... -- WORDS`, a line of JSON."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from airlock_bench import machine  # noqa: E402


def main():
    file, qemu, *rest = sys.argv[1:]
    pids, words = rest[:rest.index("--")], rest[rest.index("--") + 1:]
    line = {"mark": " ".join(words).split(), "qemu": machine.cpu_seconds(qemu),
            "devices": {pid: machine.cpu_seconds(pid) for pid in pids}}
    with open(file, "a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
