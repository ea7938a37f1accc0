# SPDX-License-Identifier: Apache-2.0
"""Where the lab keeps things, and how it reports what went wrong."""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
LAB = Path(os.environ.get("AIRLOCK_LAB") or SOURCE.parent / "build/lab")
TRIXIE = LAB / "trixie"
CACHE = LAB / "cache"


class LabError(Exception):
    """One line, WHAT: WHY: WHAT TO DO; `status` is the exit status of the script."""

    def __init__(self, what, why, todo, status=125):
        super().__init__(f"{what}: {why}: {todo}")
        self.status = status


class Kernel:
    """A guest kernel that lab/setup has unpacked."""

    def __init__(self, version):
        self.version = version
        self.folder = LAB / "kernels" / version
        try:
            self.release = (self.folder / "release").read_text().strip()
        except OSError:
            raise LabError(
                f"kernel {version}", f"not in {LAB}/kernels", f"run lab/setup --kernel {version}"
            ) from None
        self.image = self.folder / "vmlinuz"
        self.modules = self.folder / "lib/modules" / self.release


def check_ready():
    """Raises LabError unless lab/setup has made the lab's Debian 13 with QEMU in it."""
    if not (TRIXIE / "usr/bin/qemu-system-x86_64").exists():
        raise LabError("QEMU", f"not in {TRIXIE}", "run lab/setup as root")
