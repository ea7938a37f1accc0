# SPDX-License-Identifier: Apache-2.0
"""Runs one cell of the matrix: a device process, one boot with everything in it, its verdict."""

import hashlib
import io
import json
import random
import re
import shlex
import sys
import tarfile
from pathlib import Path

from .peers import Echo, FileServer
from .places import SOURCE

PROJECT = SOURCE.parent
sys.path.append(str(PROJECT / "tests"))
import harness  # noqa: E402  (the tests' device processes and VMs)

DISK_BYTES = 512 << 20  # mkfs.xfs takes nothing below 300 MiB; the file is sparse
DOWN_BYTES = 4 << 20
TREE_FOLDERS = 8
FILES_A_FOLDER = 24
FILE_BYTES_MOST = 64 << 10
BIG_FILE_BYTES = 4 << 20
TIMEOUT_SECONDS = 600

# qboot sets no MTRRs: our module says what that costs where the processor heeds it.
QBOOT_LOG = "airlock: region at .* not write-back: the MTRRs"
# Debian has no kernel with KASAN or kmemleak; this is what its kernels can watch memory with. What
# they find is a BUG in the log. Their watchdogs would find a busy host; who hangs runs out of time.
# On a busy host a guest also gets the speed of its TSC wrong: an hour in two minutes was seen.
WATCH = ("slub_debug=FZP kfence.sample_interval=10 nowatchdog tsc=unstable "
         "rcupdate.rcu_cpu_stall_suppress=1 sysctl.kernel.hung_task_timeout_secs=0")
MODES = {"bus": "bus addresses", "offset": "offsets"}


class CellFailure(Exception):
    """A cell's verdict: what did not hold, in a line or a few."""


def run_cell(cell, module, directory, console_file):
    """Runs it with its files in `directory`, keeps the console. `module` is ours, for its kernel.
    Raises CellFailure."""
    directory = Path(directory)
    image = directory / "disk.img"
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    arguments = ["blk", "--backend", f"file:{image}", "--region", cell.region,
                 "--queues", cell.cpus, "--address", cell.address,
                 "--features", f"packed={'on' if cell.ring == 'packed' else 'off'}"]
    make_tree(directory, random.Random(cell.name))
    data = random.Random(f"{cell.name} down").randbytes(DOWN_BYTES)
    with harness.Device(*arguments, directory=directory, guard="bounce") as device, \
            FileServer(data) as server, Echo(directory / "port.sock") as echo:
        status, console = harness.vm(
            *vm_arguments(cell, module, directory, device, echo), timeout=TIMEOUT_SECONDS,
            script=settings(cell, directory, server, data) + (SOURCE / "cell.sh").read_text())
        console_file.write_text(console + "".join(f"device: {x}\n" for x in device.log()))
        if status != 0:
            raise CellFailure(explain(status, console, device))
        if (status := device.stop()) != 0:
            raise CellFailure(f"the device ended with {status}: {device.log()[-1:]}")
    check_device(cell, device.stats(), directory)


def make_tree(directory, dice):
    """tree.tar with files of many sizes in tree/, and tree.sums as sha256sum writes it."""
    sums = []
    with tarfile.open(directory / "tree.tar", "w") as archive:
        def add(name, data):
            entry = tarfile.TarInfo(f"tree/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
            sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")

        for folder in range(TREE_FOLDERS):
            for number in range(FILES_A_FOLDER):
                size = dice.randrange(FILE_BYTES_MOST) if number else 0
                add(f"{folder}/{'deeper/' * (number % 4)}file{number}", dice.randbytes(size))
        add("big", dice.randbytes(BIG_FILE_BYTES))
    (directory / "tree.sums").write_text("".join(sums))


def settings(cell, directory, server, data):
    """The variables of lab/cell.sh."""
    values = {
        "CPUS": cell.cpus,
        "PACKED": "1" if cell.ring == "packed" else "0",
        "MODE": MODES[cell.address],
        "REGION_KIB": int(cell.region.removesuffix("M")) << 10,
        "EXPECTED": QBOOT_LOG,
        "PORT": server.port,
        "DOWN_SUM": hashlib.sha256(data).hexdigest(),
        "UP_SUM": harness.sha256(directory / "tree.tar"),
    }
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def vm_arguments(cell, module, directory, device, echo):
    """lab/vm with our disk at 10.0 and stock devices at 04.0 to 06.0."""
    stock = [
        "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,addr=04.0,romfile=",
        "-device", "virtio-serial-pci,addr=05.0", "-chardev", f"socket,id=port,path={echo.path}",
        "-device", "virtserialport,chardev=port,name=airlock.lab",
        "-device", "virtio-rng-pci,addr=06.0",
    ]
    trixie = shlex.quote(str(SOURCE / "trixie"))
    image = shlex.quote(str(directory / "disk.img"))
    # By this machine: what the guest unmounted has reached the file.
    fsck = (f"case $LAB_ARGUMENTS in ext4) set -- e2fsck -fn ;; xfs) set -- xfs_repair -n ;; esac; "
            f'log=$({trixie} "$@" {image} 2>&1) || {{ echo "$log" | tail; exit 1; }}')
    audit = (f"exec {shlex.quote(sys.executable)} {shlex.quote(str(PROJECT / 'tests/audit.py'))} "
             f"{device.pid} >{shlex.quote(str(directory / 'audit'))}")
    programs = [word for name in ("fio", "mkfs.ext4", "mkfs.xfs") for word in ("--with", name)]
    return ["--kernel", cell.kernel, "--cpus", cell.cpus, "--memory", "1G",
            "--module", f"{module},packed=1", "--vfio-user", device.socket,
            "--guest-module", "xfs", *programs, "--append", WATCH,
            "--file", f"{directory}/tree.tar:/lab/tree.tar",
            "--file", f"{directory}/tree.sums:/lab/tree.sums",
            "--on", f"fsck={fsck}", "--on", f"audit={audit}",
            *[f"--qemu-arg={word}" for word in stock]]


def explain(status, console, device):
    """How a boot went wrong: where it was, and the last that was said."""
    steps = re.findall(r"@@STEP (.*?)@@", console)
    tail = [line for line in console.splitlines() if line.strip() and "@@" not in line][-12:]
    where = f"status {status} in step {steps[-1] if steps else 'boot'}"
    return "\n".join([where, *tail, *[f"device: {line}" for line in device.log()[-3:]]])


def check_device(cell, stats, directory):
    """The device's own view: it had the region and nothing else, and saw nothing wrong."""
    wrong = {key: stats[key] for key in ("violations", "io_errors", "refused") if stats[key]}
    wrong |= {key: stats["dma"][key] for key in ("fds_mapped", "guest_bytes_max")
              if stats["dma"][key]}
    if wrong:
        raise CellFailure(f"the device counted {wrong}")
    if stats["bytes_written"] < DISK_BYTES // 16:
        raise CellFailure(f"only {stats['bytes_written']} bytes were written")
    check_view(cell, stats["view"])
    report = json.loads((directory / "audit").read_text())
    if report["guest_ram_mapped_bytes"] or any("airlock-region" not in name for name in
                                               [*report["shared_with_vmm"], *report["memory_fds"]]):
        raise CellFailure(f"the device has more than its region: {report}")
    if not report["shared_with_vmm"]:
        raise CellFailure(f"the audit found no region: {report}")


def check_view(cell, view):
    """Every ring and every buffer that the device was ever let at lies in the region, in the
    driver's own numbers; and there were as many rings as asked for."""
    asked = (cell.address, int(cell.region.removesuffix("M")) << 20, int(cell.cpus))
    found = (view["addresses"], view["region_bytes"], len(view["queues"]))
    if not harness.view_is_inside(view) or found != asked:
        raise CellFailure(f"the device's view is not its region: {view}")
