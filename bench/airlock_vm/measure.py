# SPDX-License-Identifier: Apache-2.0
"""One VM with several disks over files of the same kind, measured by fio in the guest."""

import contextlib
import json
import os
import pathlib
import shlex
import sys
import tempfile
from typing import NamedTuple

import harness
from airlock_bench.spread import spread

HERE = pathlib.Path(__file__).resolve().parent
POINTS = ("randread:4k:1", "randread:4k:32", "randwrite:4k:32", "read:128k:8", "write:128k:8",
          "read:1m:4")
PLAIN = "plain"  # QEMU's own, which reaches all of the guest's memory
SWIOTLB = "swiotlb"  # QEMU's own, as confidential VMs have it
OURS = "airlock"
GUARDED = "guarded"
DISKS = {
    PLAIN: "QEMU's virtio-blk, all of memory in reach",
    SWIOTLB: "QEMU's virtio-blk, iommu_platform=on under swiotlb=force",
    OURS: "Airlock",
    GUARDED: "Airlock behind its guard",
}


class Run(NamedTuple):
    """One run of fio."""

    disk: str
    point: str
    iops: float
    cpu_us: float  # of QEMU, the guest in it, and the device's processes, for a request


def _image(directory, name, size):
    """A file that was written everywhere: a hole is no disk."""
    path = directory / f"{name}.img"
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    return path


def _own_disk(name, image):
    """QEMU's arguments for a disk of its own, with an I/O thread as ours has one."""
    extra = ",iommu_platform=on" if name == SWIOTLB else ""
    return ["-object", f"iothread,id=io-{name}",
            "-drive", f"if=none,id={name},file={image},format=raw,cache=writeback,aio=threads",
            "-device", f"virtio-blk-pci,drive={name},serial={name},iothread=io-{name},"
            f"disable-legacy=on{extra}"]


def measure(options, say):
    """What was measured, as a dictionary for JSON. The disks are in a tmpfs."""
    with tempfile.TemporaryDirectory(prefix="airlock-vm-bench-", dir="/dev/shm") as temporary, \
            contextlib.ExitStack() as stack:
        directory = pathlib.Path(temporary)
        images = {name: _image(directory, name, options.size << 20) for name in DISKS}
        devices = [stack.enter_context(harness.Device(
            "blk", "--backend", f"file:{images[name]}", "--serial", name, directory=directory,
            name=name, guard="bounce" if name == GUARDED else None)) for name in (OURS, GUARDED)]
        pids = [process.pid for device in devices
                for process in (device, getattr(device, "guard", None)) if process]
        own = [word for name in (PLAIN, SWIOTLB) for word in _own_disk(name, images[name])]
        marks = directory / "marks"
        mark = (f"exec {shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'mark.py'))} {marks} "
                f"$LAB_QEMU_PID {' '.join(map(str, pids))} -- $LAB_ARGUMENTS")
        script = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in {
            "DISKS": " ".join(DISKS), "POINTS": " ".join(POINTS), "ROUNDS": options.rounds,
            "SECONDS_EACH": options.seconds}.items()) + (HERE / "guest.sh").read_text()
        runs = options.rounds * len(POINTS) * len(DISKS)
        say(f"vm: {runs} runs of {options.seconds} s in a guest with Linux {options.kernel}")
        status, console = harness.vm(
            "--kernel", options.kernel, "--cpus", "1", "--accel", "tcg", "--memory", "1G",
            "--append", "swiotlb=force", "--module", harness.guest_module(options.kernel),
            "--with", "fio",
            *[word for device in devices for word in ("--vfio-user", device.socket)],
            "--on", f"mark={mark}",
            *[f"--qemu-arg={word}" for word in own],
            script=script, timeout=120 + 2 * runs * (options.seconds + 3))
        if status != 0:
            raise RuntimeError(f"the guest ended with {status}:\n{console[-3000:]}")
        if harness.said(console, "SWIOTLB") in ([], ["0"]):
            raise RuntimeError("nothing of the guest went through swiotlb: nothing to compare with")
        return {"seconds": options.seconds, "size_mib": options.size,
                **summary(runs_of(console, marks.read_text()))}


def runs_of(console, marks):
    """The runs: what fio printed on the console, and what the processes used between its marks."""
    used, runs = {}, []
    for line in map(json.loads, marks.splitlines()):
        side, *which = line["mark"]
        used[side, tuple(which)] = line["qemu"] + sum(line["devices"].values())
    for disk, point, number, terse in map(str.split, harness.said(console, "RUN")):
        fields = terse.split(";")
        if fields[4] != "0":
            raise RuntimeError(f"fio on {disk} at {point}: error {fields[4]}")
        iops = float(fields[7]) + float(fields[48])
        requests = iops * (int(fields[8]) + int(fields[49])) / 1000  # run times, in ms
        which = (disk, point, number)
        cpu = used["end", which] - used["begin", which]
        runs.append(Run(disk, point, iops, cpu / requests * 1e6))
    return runs


def summary(runs):
    """By disk and point, for JSON."""
    cells = []
    for point in POINTS:
        for disk in DISKS:
            mine = [run for run in runs if (run.disk, run.point) == (disk, point)]
            if not mine:
                continue
            cells.append({"disk": disk, "point": point,
                          "iops": spread(run.iops for run in mine)._asdict(),
                          "cpu_us": spread(run.cpu_us for run in mine)._asdict(),
                          "runs": [run.iops for run in mine]})
    return {"disks": DISKS, "results": cells}
