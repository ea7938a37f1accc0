# SPDX-License-Identifier: Apache-2.0
"""KVM where it really boots the guest's stock kernel, TCG elsewhere."""

import argparse
import contextlib
import io
import os
import platform

from .places import CACHE, Kernel, LabError

PROBE_SECONDS = 15


def choose(options, boot):
    """"tcg" or "kvm". boot(options, script, outputs) runs a VM; used to try KVM once."""
    if options.accel != "auto":
        return options.accel
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    release = Kernel(options.kernel).release
    remembered = CACHE / f"kvm-{platform.release()}-{release}"
    with contextlib.suppress(OSError):
        return remembered.read_text().strip()
    chosen = "kvm" if _kvm_boots(options, boot) else "tcg"
    with contextlib.suppress(OSError):
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = CACHE / f".{remembered.name}.{os.getpid()}"
        partial.write_text(chosen + "\n")
        partial.replace(remembered)
    return chosen


def _kvm_boots(options, boot):
    """/dev/kvm alone says little: on some hosts it runs only kernels made for it."""
    lists = {key: [] for key, value in vars(options).items() if isinstance(value, list)}
    trial = argparse.Namespace(**{**vars(options), **lists})
    trial.accel = "kvm"
    trial.timeout = PROBE_SECONDS
    trial.qmp = trial.qemu_log = trial.cpu = None
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return boot(trial, "true\n", []) == 0
        except LabError:
            return False
