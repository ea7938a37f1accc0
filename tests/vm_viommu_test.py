# SPDX-License-Identifier: Apache-2.0
"""A disk under --dma=open behind an IOMMU that QEMU emulates and a stock Linux drives (REQUIREMENTS
SYS-6; docs/COMPARISON.md, Behind a real vIOMMU). Some twenty seconds a VM.

Between QEMU and the disk stands a relay, which sees what the disk is given of guest memory and does
what a dishonest one could do with it. So each VM answers two questions: what does the honest disk
reach, and what could another have reached in its place?"""

import os
import secrets
import threading
import unittest

import audit
import harness
import memory_scan
from dma_relay import PAGE, Relay
from vm_case import VmTest

MEMORY = 256 << 20
LOW_MEMORY = 1 << 20  # below it are other things than memory
SECRET_BYTES = 32 << 20
SMALL_READS = 64
# The IOMMUs: the kernel that has a driver for it, QEMU's arguments, words for the kernel, and what
# the guest does for a driver of the disk's bus to take it.
INTEL = ("6.1", ("--qemu-arg=-device", "--qemu-arg=intel-iommu,caching-mode=on,intremap=off"),
         "intel_iommu=on", "coldplug pci")
VIRTIO = ("6.12", ("--guest-module", "virtio-iommu", "--qemu-arg=-device",
                   "--qemu-arg=virtio-iommu-pci,boot-bypass=off"), "", "modprobe virtio-iommu")
NONE = ("6.12", (), "", "true")

START = """
{bus}
wait-for /sys/bus/pci/devices/0000:00:10.0/driver
test "$(cat /sys/bus/pci/devices/0000:00:10.0/iommu_group/type)" = "{group}"
mount -t tmpfs -o size=48m tmpfs /mnt
yes {key} | head -c {secret_bytes} >/mnt/secret
"""
# ACCESS_PLATFORM is bit 33: without it Linux would ask its IOMMU for no address.
WORK = """
coldplug
wait-for /dev/vda
test "$(cut -c34 /sys/block/vda/device/features)" = 1
dd if=/dev/urandom of=/tmp/data bs=1M count=12 2>/dev/null
dd if=/tmp/data of=/dev/vda bs=256k 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=64k count=192 2>/dev/null | cmp - /tmp/data
host ask small
fio --name=small --filename=/dev/vda --direct=1 --ioengine=psync --rw=randread --bs=512 --size=1M \
  --number_ios={small_reads} --output=/dev/null
host ask small-done
fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randrw --bs=16k --iodepth=32 \
  --size=8M --time_based --runtime=600 --output=/dev/null &
host ask look
kill $!
wait
test "$(head -c {key_bytes} /mnt/secret)" = {key}
"""
# Without its driver the disk has no rings: nothing is mapped, and yet it may master the bus.
LOOK = """
host ask look
"""


class Asker:
    """Answers the guest's `host ask WORD` in this process: `answers` has a function for each word.
    Use as a context manager."""

    def __init__(self, directory, answers):
        self.question, self.done = directory / "question", directory / "done"
        self._answers = answers
        self.problem = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def on(self):
        return (f"ask=echo $LAB_ARGUMENTS >{self.question}; read -r word <{self.done}; "
                "test $word = yes")

    def __enter__(self):
        os.mkfifo(self.question)
        os.mkfifo(self.done)
        # Open for both, so that neither end waits for the other.
        self._in = os.fdopen(os.open(self.question, os.O_RDWR), "r+b", buffering=0)
        self._out = os.fdopen(os.open(self.done, os.O_RDWR), "r+b", buffering=0)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._in.write(b"end\n")
        self._thread.join()
        self._in.close()
        self._out.close()

    def _run(self):
        while (word := self._line()) != "end":
            try:
                self._answers[word]()
                self._out.write(b"yes\n")
            except Exception as problem:  # pylint: disable=broad-except
                self.problem = problem
                self._out.write(b"no\n")

    def _line(self):
        line = b""
        while not line.endswith(b"\n"):
            line += self._in.read(1)
        return line.decode().strip()


class ViommuTest(VmTest):
    """One VM with one IOMMU, or none, and what was seen of it."""

    def run_vm(self, iommu, script, *arguments, group="DMA"):
        """The disk's counters, after the guest ended well."""
        kernel, machine, words, bus = iommu
        self.key = secrets.token_hex(16).encode()
        script = script.format(bus=bus, group=group, key=self.key.decode(), key_bytes=len(self.key),
                               secret_bytes=SECRET_BYTES, small_reads=SMALL_READS)
        words += f" iommu.strict=1 iommu.passthrough={int(group == 'identity')}"
        answers = {"small": self.small, "small-done": self.small_done, "look": self.look}
        with self.device("--dma", "open", guarded=False) as self.disk, \
                Relay(self.directory / "relay.sock", self.disk.socket) as self.relay, \
                Asker(self.directory, answers) as asker:
            status, console = harness.vm(
                "--kernel", kernel, *machine, "--append", words, "--memory", f"{MEMORY >> 20}M",
                "--vfio-user", self.relay.socket, "--on", asker.on(), *arguments, script=script,
                timeout=400)
            self.assertIsNone(asker.problem)
            self.assertEqual(status, 0, console[-4000:] + "\n".join(self.disk.log()))
            self.assertEqual(self.disk.stop(), 0, self.disk.log())
        return self.disk.stats()

    def small(self):
        self.before = len(self.relay.mapped)

    def small_done(self):
        self.small_maps = self.relay.mapped[self.before:]

    def look(self):
        """What the honest disk has, and what another could get in its place."""
        self.in_disk = memory_scan.count(self.disk.pid, self.key)
        self.report = audit.audit(self.disk.pid)
        self.in_file = self.relay.count_in_file(self.key)
        # Some of what is mapped now is not any more when it is asked for.
        asked = [self.relay.read(address, PAGE) for address in list(self.relay.maps)]
        self.mapped_pages = [page for page in asked if page is not None]
        # The guest's memory as it is on the guest's own bus.
        self.unmapped = list(self.relay.samples(LOW_MEMORY, MEMORY))


class Shared(ViommuTest):
    """Guest memory is a file, which a device process needs that is to map guest memory."""

    def work(self, iommu, **options):
        stats = self.run_vm(iommu, START + WORK, "--memory-backend", "shared", "--with", "fio",
                            **options)
        self.assertEqual((stats["violations"], stats["io_errors"]), (0, 0), self.disk.log())
        self.assertGreaterEqual(stats["bytes_written"], 12 << 20)
        # Whatever the IOMMU was told: with each mapping comes a descriptor of all there is.
        self.assertGreater(self.in_file, SECRET_BYTES // 64)
        return stats

    def check_isolation(self):
        """An honest disk has the pages of what is in flight, and the VMM reads no others for it."""
        self.assertEqual(self.in_disk, 0)
        self.assertGreater(self.report["guest_ram_mapped_bytes"], 0)
        self.assertLess(self.report["guest_ram_mapped_bytes"], MEMORY // 8)
        self.assertTrue(self.mapped_pages)
        self.assertFalse(any(self.key in page for page in self.mapped_pages))
        self.assertEqual(self.unmapped, [])

    def check_pages(self):
        """For a sector the driver maps its page, and those of header and status."""
        self.assertEqual([size for size in self.small_maps if size % PAGE], [])
        self.assertGreaterEqual(sum(self.small_maps), 3 * SMALL_READS * PAGE)

    # SYS-6. Until Linux turned it on, this one kept nothing from the disk.
    def test_intel_iommu(self):
        stats = self.work(INTEL)
        self.check_isolation()
        self.check_pages()
        self.assertGreater(stats["dma"]["guest_bytes_max"], MEMORY // 2)

    # SYS-6. This one keeps everything from it from the start.
    def test_virtio_iommu(self):
        stats = self.work(VIRTIO)
        self.check_isolation()
        self.check_pages()
        self.assertLess(stats["dma"]["guest_bytes_max"], MEMORY // 2)

    # SYS-6, the rejecting twin: the same search, and the IOMMU told to let all through.
    def test_passthrough_exposes_all(self):
        self.work(INTEL, group="identity")
        self.assertGreater(self.in_disk, SECRET_BYTES // 64)
        self.assertGreater(self.report["guest_ram_mapped_bytes"], MEMORY // 2)
        self.assertTrue(any(self.key in data for data in self.unmapped))
        self.assertEqual(self.small_maps, [])


class Anonymous(ViommuTest):
    """Guest memory has no file: the VMM has to be asked for every byte, and asks the IOMMU."""

    # SYS-6: attached to an IOMMU and nothing mapped, it gets at nothing.
    def test_the_vmm_reads_nothing_that_is_not_mapped(self):
        self.run_vm(VIRTIO, START + LOOK)
        self.assertIsNone(self.relay.file)
        self.assertEqual(self.unmapped, [])

    # The rejecting twin: no file comes either, and the VMM reads all.
    def test_without_an_iommu_it_reads_all(self):
        self.run_vm(NONE, START + LOOK, group="")
        self.assertIsNone(self.relay.file)
        self.assertTrue(any(self.key in data for data in self.unmapped))


if __name__ == "__main__":
    unittest.main(verbosity=2)
