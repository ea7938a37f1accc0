# SPDX-License-Identifier: Apache-2.0
"""Which cells have passed, and with what: so that a matrix that was stopped can go on.

A cell that passed counts for as long as nothing changes of what it ran: the device, the module, the
kernel, and the scripts that check."""

import hashlib
import json
import os
import threading
from pathlib import Path

from .places import SOURCE, Kernel

# By their folder: what runs a cell, and what it checks with.
CHECKED_BY = (("lab", ("matrix", "cell.sh", "vm", "trixie", "airlock_lab/*.py", "guest/*")),
              ("tests", ("harness.py", "audit.py")))


class Passed:
    """The cells of earlier runs, by name, with the fingerprint of each; any thread may use it."""

    def __init__(self, file, modules, device):
        """`file`: where they are kept. `modules`: the module's path for each kernel version.
        `device`: the device's binary."""
        self._file = Path(file)
        checks = [path for folder, patterns in CHECKED_BY for pattern in patterns
                  for path in sorted((SOURCE.parent / folder).glob(pattern))]
        self._key_of = {
            kernel: _fingerprint([*checks, Path(device), Path(module), Kernel(kernel).image])
            for kernel, module in modules.items()}
        self._lock = threading.Lock()
        try:
            self._cells = json.loads(self._file.read_text())
        except (OSError, ValueError):
            self._cells = {}

    def has(self, cell):
        with self._lock:
            return self._cells.get(cell.name) == self._key_of[cell.kernel]

    def add(self, cell):
        """At once, since the next one may never end."""
        with self._lock:
            self._cells[cell.name] = self._key_of[cell.kernel]
            partial = self._file.with_suffix(".new")
            partial.write_text(json.dumps(self._cells, indent=1))
            os.replace(partial, self._file)


def _fingerprint(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()
