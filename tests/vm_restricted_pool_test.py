# SPDX-License-Identifier: Apache-2.0
"""A restricted DMA pool by device tree in a real Linux: arm64, with stock drivers and nothing of
ours (lab/restricted-pool gets it and runs this; REQUIREMENTS SYS-1).

The disk is ours, under --dma=open, so it would use any memory that it gets. Every byte of the
guest's memory has a file, which QEMU offers; the guard passes on the pool's and closes the others.
What `airlock dt` wrote makes Linux keep its rings and buffers in the pool: with it the disk works;
without, the device refuses the first ring, by its address."""

import json
import os
import signal
import subprocess
import sys
import threading
import unittest

import audit
import harness
from vm_case import VmTest

sys.path.append(str(harness.REPO / "lab"))
from airlock_lab.cpio import Archive  # noqa: E402
from airlock_lab.places import LAB  # noqa: E402

PARTS = LAB / "arm64"
RAM, POOL, POOL_BYTES = 0x40000000, 0x50000000, 64 << 20
POOL_END = POOL + POOL_BYTES
WINDOW = f"window={POOL:#x}+64M"
BOOT_SECONDS = 300
# The machine's memory in three parts, each a file of its own: the pool is the one in the middle.
MEMORY = (("below", 256), ("pool", 64), ("above", 192))
DATA_BYTES = 24 << 20

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug
say() { echo "@@$*@@"; }
finish() { say END "$1"; poweroff -f; }

test -b /dev/vda || finish 'no disk'
say FEATURES $(cat /sys/block/vda/device/features)
# Where Linux puts it depends on what is there first: beside the default pool's, or in it.
pool=$(dirname $(find /sys/kernel/debug -name io_tlb_used_hiwater | grep restricted-dma-pool))
say POOL ${pool##*/}
say READ $(dd if=/dev/vda bs=64k 2>/dev/null | sha256sum)
dd if=/dev/zero bs=1M count=24 2>/dev/null | tr '\\0' 'w' >/tmp-data
dd if=/tmp-data of=/dev/vda bs=256k 2>/dev/null
sync
blockdev --flushbufs /dev/vda
say WRITTEN $(dd if=/dev/vda bs=16k count=1536 2>/dev/null | sha256sum)
say USED $(cat $pool/io_tlb_nslabs $pool/io_tlb_used $pool/io_tlb_used_hiwater)
dmesg | grep -E 'restricted DMA|swiotlb buffer is full|I/O error|WARNING' | while read -r line; do
  say LOG "$line"
done
say LOOK now
read -r _
finish well
"""


def qemu_words(machine, *arguments):
    words = [harness.REPO / "lab/trixie", "qemu-system-aarch64", "-nodefaults", "-no-user-config",
             "-display", "none", "-machine", f"virt,gic-version=2{machine}", "-accel", "tcg",
             "-cpu", "cortex-a57", "-smp", "2", "-m", f"{sum(size for _, size in MEMORY)}M"]
    for name, size in MEMORY:
        words += ["-object", f"memory-backend-memfd,id={name},size={size}M,share=on",
                  "-numa", f"node,memdev={name}"]
    return [str(word) for word in (*words, *arguments)]


def initramfs():
    archive = Archive()
    for folder in ("/proc", "/sys", "/dev", "/bin"):
        archive.folder(folder)
    archive.character_device("/dev/console", 5, 1)
    archive.copy("/bin/busybox", PARTS / "busybox")
    archive.file("/init", INIT.encode(), 0o755)
    return archive.bytes()


class Guest:
    """One VM, from its start to its end. Use as a context manager."""

    def __init__(self, words):
        self.lines = []
        self._change = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._change:
                self.lines.append(line.decode(errors="replace").strip())
                self._change.notify_all()
        with self._change:
            self._ended = True
            self._change.notify_all()

    def said(self, word):
        return harness.said("\n".join(self.lines), word)

    def wait_for(self, word):
        """What the guest says first with that word."""
        with self._change:
            self._change.wait_for(lambda: self.said(word) or self._ended, BOOT_SECONDS)
            found = self.said(word)
        if not found:
            raise AssertionError(f"the guest did not say {word}:\n" + "\n".join(self.lines[-40:]))
        return found[0]

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


class RestrictedPool(VmTest):
    def setUp(self):
        super().setUp()
        if not (PARTS / "Image").exists():
            self.fail(f"no {PARTS}/Image: run lab/restricted-pool, or lab/arm64-kernel")
        self.image.write_bytes(os.urandom(1 << 20) * (DATA_BYTES >> 20))
        self.initrd = self.directory / "initrd"
        self.initrd.write_bytes(initramfs())

    def tree_with_pool(self):
        """The machine's own device tree, with the pool for all behind its PCI host bridge."""
        plain, made = self.directory / "virt.dtb", self.directory / "pool.dtb"
        harness.run(*qemu_words(f",dumpdtb={plain}"), stdin=subprocess.DEVNULL)
        harness.airlock("dt", "pool", "--input", plain, "--output", made, "--base", hex(POOL),
                        "--size", "64M", "--pci-host")
        return made

    def disk(self, policy):
        return harness.Device("blk", "--backend", f"file:{self.image}", "--dma", "open",
                              directory=self.directory, guard=policy)

    def guest(self, disk, *arguments):
        device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(disk.socket)}}
        return Guest(qemu_words(
            "", "-no-reboot", "-chardev", "stdio,id=console,signal=off", "-serial",
            "chardev:console", "-kernel", PARTS / "Image", "-initrd", self.initrd, "-append",
            "console=ttyAMA0 quiet panic=-1 rdinit=/init", "-device", json.dumps(device),
            *arguments))

    def refused_address(self, disk):
        """The address of guest memory that the device names when it refuses a ring."""
        line = disk.wait_for_line("the driver must reset the device", timeout=BOOT_SECONDS)
        self.assertIn("descriptor area", line)
        return int(line.split("address 0x")[1].split()[0].rstrip(",:;)"), 16), line


class Pool(RestrictedPool):
    """SYS-1: with the pool."""

    # DT-3 (the host bridge's pool), DT-6 (rings in it too), DT-10.
    def test_a_disk_works_through_the_pool(self):
        before = harness.sha256(self.image)
        with self.disk(WINDOW) as disk:
            with self.guest(disk, "-dtb", self.tree_with_pool()) as guest:
                guest.wait_for("LOOK")
                self.look(disk)
                guest.go_on()
                self.assertEqual(guest.wait_for("END"), "well")
                guest.process.wait(60)
            log = guest.said("LOG")
            self.assertEqual(len(log), 1, log)
            self.assertIn(f"created restricted DMA pool at {POOL:#018x}", log[0])
            # ACCESS_PLATFORM (33): without it Linux would not ask its DMA layer at all.
            self.assertEqual(guest.said("FEATURES")[0][33], "1")
            self.assertEqual(guest.said("READ")[0].split()[0], before)
            self.assertEqual(guest.said("WRITTEN")[0].split()[0], harness.sha256(self.image))
            self.assertEqual(self.image.read_bytes(), b"w" * DATA_BYTES)
            slabs, _, high = map(int, guest.said("USED")[0].split())
            self.assertEqual(slabs << 11, POOL_BYTES)
            self.assertGreater(high << 11, 64 << 10)
            self.assertEqual(disk.stop(), 0, disk.log())
        self.view_is_the_pool(disk.stats()["view"])

    def look(self, disk):
        """Of all the VM's memory the device process has the pool, and QEMU has it with it."""
        report = audit.audit(disk.pid)
        self.assertEqual(report["guest_ram_mapped_bytes"], POOL_BYTES, report)
        passed = [entry for entry in disk.guard.audit() if entry.get("message") == "DMA_MAP"
                  and "its file passed on" in entry["reason"]]
        self.assertEqual([entry["reason"].split(",")[0] for entry in passed],
                         [f"{POOL:#x}+{POOL_BYTES:#x}"])

    def view_is_the_pool(self, view):
        rings = [queue[f"{area}_area"] for queue in view["queues"]
                 for area in ("descriptor", "driver", "device")]
        self.assertTrue(rings)
        for address in (*rings, view["touched_first"], view["touched_end"] - 1):
            self.assertTrue(POOL <= address < POOL_END, hex(address))


class Controls(RestrictedPool):
    """What the test above shows is the pool's doing, and the guard's."""

    def test_without_a_pool_the_first_ring_is_refused(self):
        with self.disk(WINDOW) as disk, self.guest(disk) as guest:
            address, line = self.refused_address(disk)
            self.assertFalse(POOL <= address < POOL_END, line)
            self.assertGreaterEqual(address, RAM)
            self.assertEqual(guest.said("READ"), [])

    def test_a_pool_outside_the_guards_window_is_refused(self):
        with self.disk("window=0x54000000+64M") as disk:
            with self.guest(disk, "-dtb", self.tree_with_pool()) as guest:
                address, line = self.refused_address(disk)
                self.assertTrue(POOL <= address < POOL_END, line)
                self.assertEqual(guest.said("READ"), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
