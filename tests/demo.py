# SPDX-License-Identifier: Apache-2.0
"""The main job, as ./run does it: a real file system on a disk whose device sees no guest memory.

With a VM (the default): a stock QEMU boots a stock kernel, its virtio_blk mounts the disk, checks
every file and writes a new one. Without (--no-vm): our own driver does the same work over the
socket. Either way the image is checked on this machine afterwards, and an audit closes the run."""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import audit
import harness

IMAGE_BYTES = 256 << 20
NEW_FILE_BYTES = 8 << 20
GUEST_RAM = "512M"
QUEUE_REGION = "64M"

GUEST_SCRIPT = f"""
wait-for /dev/vda
coldplug
modprobe ext4
mount -t ext4 /dev/vda /mnt
cd /mnt
sha256sum -c SHA256SUMS >/tmp/checked || {{ grep -v ': OK$' /tmp/checked; exit 1; }}
echo "@@CHECKED $(grep -c ': OK$' /tmp/checked)@@"
dd if=/dev/urandom of=new-file bs=1M count={NEW_FILE_BYTES >> 20} 2>/dev/null
sync
echo "@@NEW $(sha256sum <new-file | cut -c 1-64)@@"
for f in /sys/kernel/debug/virtio_pci_airlock/*/io_tlb_*; do
  echo "@@POOL $(basename $f) $(cat $f)@@"
done
host audit
cd /
umount /mnt
"""


class Steps:
    """One line a step, with the time it took."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, text):
        print(f"[{time.monotonic() - self.start:5.1f} s] {text}", flush=True)


def in_vm(device, directory, count, step):
    """The work in a VM. Returns (sha256 of the new file, audit report, facts for the summary)."""
    module = harness.guest_module()
    report_file = directory / "audit.json"
    command = f"{sys.executable} {harness.REPO}/tests/audit.py {device.pid} > {report_file}"
    step(f"boot the VM ({GUEST_RAM} of guest RAM), mount, check {count} files, write a new one")
    status, console = harness.vm(
        "--vfio-user", device.socket, "--module", module, "--memory", GUEST_RAM, "--quiet",
        "--guest-module", "ext4", "--on", f"audit={command}", "--console", directory / "console",
        script=GUEST_SCRIPT, timeout=300)
    console += (directory / "console").read_text(errors="replace")
    if status != 0:
        raise RuntimeError(f"the VM's commands ended with status {status}:\n{console[-3000:]}")
    checked = harness.said(console, "CHECKED")
    if checked != [str(count)]:
        raise RuntimeError(f"{checked} of {count} files are right")
    pool = ", ".join(harness.said(console, "POOL"))
    digest = harness.said(console, "NEW")[0]
    return digest, json.loads(report_file.read_text()), ("guest's pool", pool)


def over_the_socket(device, directory, sums, step):
    """The same work with our own driver: read all, check, change, write all back."""
    where = ["--device", f"vfio-user:{device.socket}"]
    copy = directory / "copy.img"
    step(f"read the disk through our driver and check {len(sums)} files")
    harness.airlock("blk", "read", *where, "--output", copy)
    for name, digest in sums.items():
        harness.read_from_ext4(copy, name, directory / "one")
        if harness.sha256(directory / "one") != digest:
            raise RuntimeError(f"{name} differs")
    step("write a new file through our driver, flush")
    new = directory / "new-file"
    new.write_bytes(os.urandom(NEW_FILE_BYTES))
    harness.run("debugfs", "-w", "-R", f"write {new} new-file", copy)
    harness.airlock("blk", "write", *where, "--input", copy)
    return harness.sha256(new), audit_if_allowed(device.pid), ("driver", "airlock blk")


def audit_if_allowed(pid):
    """The report; None for who may not look: a device in its sandbox is closed to its own user."""
    try:
        return audit.audit(pid)
    except PermissionError:
        return None


def check_image(image, directory, digest, step):
    step("check the image on this machine: e2fsck -fn, checksum of the new file")
    harness.check_ext4(image)
    harness.read_from_ext4(image, "new-file", directory / "back")
    if harness.sha256(directory / "back") != digest:
        raise RuntimeError("the new file on the image is not what was written")


def megabytes(count):
    return f"{count / (1 << 20):.1f} MiB"


def print_audit(report, stats, guard, facts, vm):
    rows = memory_rows(report, vm) if report else [
        ("mapped by the device", "not looked at: its sandbox shows its memory to root only")]
    rows += channel_rows(stats, guard)
    print("\naudit")
    for name, text in [*rows, facts]:
        print(f"  {name:<21} {text}")


def memory_rows(report, vm):
    private = megabytes(report["vmm_largest_private_mapping"])
    shared = [f"{name.split(' ')[0]} ({megabytes(size)})"
              for name, size in report["shared_with_vmm"].items()]
    return [
        ("guest RAM", f"{GUEST_RAM}, private memory of the VMM (its largest: {private})" if vm
         else "no guest: the driver is a process of its own here"),
        ("mapped by the device", f"{report['guest_ram_mapped_bytes']} bytes of it"),
        ("  established by", "/proc maps of device and peer; the only memory that both map: "
         + (", ".join(shared) or "none (the peer has left)")),
        ("  memory descriptors", ", ".join(report["memory_fds"]) or "none"),
    ]


def channel_rows(stats, guard):
    asked = {name: guard.get(name, {}) for name in ("DMA_MAP", "DMA_READ", "DMA_WRITE")}
    passed = sum(counts.get("forwarded", 0) for counts in asked.values())
    requests = [f"{count} {name}" for name, count in stats["requests"].items() if count]
    return [
        ("reachable", f"{passed} bytes over every channel, by the guard's own account:"
         if passed == 0 else f"{passed} MESSAGES ABOUT GUEST MEMORY PASSED THE GUARD:"),
        ("  DMA_MAP", f"{asked['DMA_MAP'].get('answered', 0)} of the VM's, all answered by the "
         f"guard, their files closed; {stats['dma']['maps']} reached the device"),
        ("  DMA_READ, DMA_WRITE", f"{sum(asked['DMA_READ'].values())} and "
         f"{sum(asked['DMA_WRITE'].values())} of the device's; the guard refuses them all"),
        ("  region", "a sealed memfd of its exact size; the VM's eventfds stay with the guard"),
        ("moved by the region", f"{megabytes(stats['bytes_read'])} read, "
         f"{megabytes(stats['bytes_written'])} written"),
        ("requests", ", ".join(requests)),
        ("copied by the device", f"{stats['copied_bytes']} bytes: the kernel moves them between "
         "file and region"),
        ("errors", f"{stats['io_errors']} of I/O, {stats['refused']} requests refused, "
         f"{stats['violations']} ring rules broken"),
        ("notifications", f"{stats['notifications']}, interrupts {stats['interrupts']}"),
    ]


def main():
    parser = argparse.ArgumentParser(prog="run", description=__doc__.splitlines()[0])
    parser.add_argument("--no-vm", action="store_true", help="our own driver instead of a VM")
    parser.add_argument("--keep", metavar="DIR", help="leave image and console there")
    options = parser.parse_args()
    step = Steps()
    with tempfile.TemporaryDirectory(prefix="airlock-run-") as name:
        directory = pathlib.Path(name)
        image = directory / "disk.img"
        step("make a disk image: ext4 with this project's own files")
        sums = harness.make_ext4(image, IMAGE_BYTES, directory)
        with harness.Device("blk", "--backend", f"file:{image}", "--region", QUEUE_REGION,
                            directory=directory, guard="bounce") as device:
            guard = device.guard
            step(f"serve it: {device.wait_for_line('serving').split('serving ')[-1]}")
            step(f"guard it: {guard.wait_for_line('guarding').split('info: ')[-1]}")
            if options.no_vm:
                digest, report, facts = over_the_socket(device, directory, sums, step)
            else:
                digest, report, facts = in_vm(device, directory, len(sums), step)
            if device.stop() != 0:
                raise RuntimeError(f"the device did not end cleanly: {device.log()}")
        check_image(image, directory, digest, step)
        print_audit(report, device.stats(), guard.counters(), facts, vm=not options.no_vm)
        if options.keep:
            shutil.copytree(directory, options.keep, dirs_exist_ok=True)
        mapped = report["guest_ram_mapped_bytes"] if report else 0
        if mapped != 0 or device.stats()["violations"] != 0:
            raise RuntimeError("the audit found what must not be")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, AssertionError, OSError) as error:
        print(f"run: {error}: see the log above", file=sys.stderr)
        sys.exit(1)
