# SPDX-License-Identifier: Apache-2.0
"""A real QEMU, a real Linux, a real file system on our disk. One VM a test: about ten seconds each.

Needs the lab (lab/setup) and the binary that AIRLOCK names."""

import json
import os
import secrets
import sys
import unittest

import harness
from vm_case import DISK_BYTES, VmTest

SECRET_BYTES = 64 << 20
# On which of the lab's kernels the isolation is tried: "6.1 6.12" for example.
KERNELS = os.environ.get("AIRLOCK_KERNELS", "6.1").split()


class Isolation(VmTest):
    def scan(self, device, key):
        """The --on argument by which the guest has the device's memory searched for its secret."""
        python = f"{sys.executable} {harness.REPO}/tests"
        return (f"scan={python}/memory_scan.py {device.pid} {key.hex()} >{self.directory}/scan; "
                f"{python}/audit.py {device.pid} >{self.directory}/audit")

    def scanned(self):
        return int((self.directory / "scan").read_text())

    def hide_and_work(self, key):
        """Guest commands: fill memory with the secret, work the disk, have the device searched."""
        return f"""
wait-for /dev/vda
mount -t tmpfs -o size=80m tmpfs /mnt
yes {key.decode()} | head -c {SECRET_BYTES} >/mnt/secret
dd if=/dev/urandom of=/dev/vda bs=64k count=256 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null
fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randrw --bs=4k --iodepth=32 \
  --size=16M --time_based --runtime=600 --output=/dev/null &
host scan
kill $!
wait
test "$(head -c {len(key)} /mnt/secret)" = {key.decode()}
"""

    # T1: what the guest did not put into the region is nowhere in the device process, not even
    # under load.
    def test_secret_stays_secret(self):
        for kernel in KERNELS:
            with self.subTest(kernel):
                self.check_secret_stays_secret(kernel)

    def check_secret_stays_secret(self, kernel):
        key = secrets.token_hex(16).encode()
        with self.device() as device:
            self.boot(device, self.hide_and_work(key), "--on", self.scan(device, key),
                      "--bios", "seabios", "--with", "fio", kernel=kernel)
            self.assertEqual(device.stop(), 0)
        self.assertEqual(self.scanned(), 0)
        report = json.loads((self.directory / "audit").read_text())
        self.assertEqual(report["guest_ram_mapped_bytes"], 0)
        self.assertEqual(list(report["shared_with_vmm"]), ["/memfd:airlock-region (deleted)"])
        self.assertEqual(report["memory_fds"], ["/memfd:airlock-region (deleted)"])
        stats = device.stats()
        self.assertEqual((stats["violations"], stats["io_errors"], stats["refused"]), (0, 0, 0))
        self.assertGreater(stats["bytes_read"], DISK_BYTES - 1)
        self.assertTrue(harness.view_is_inside(stats["view"]), stats["view"])

    # The rejecting twin: the same search finds the secret where a device does map guest memory.
    def test_the_search_finds_a_secret_that_is_exposed(self):
        key = secrets.token_hex(16).encode()
        with self.device("--dma", "open") as device:
            self.boot(device, self.hide_and_work(key), "--on", self.scan(device, key),
                      "--memory-backend", "shared", "--bios", "seabios", "--with", "fio",
                      module=False)
            self.assertEqual(device.stop(), 0)
        self.assertGreater(self.scanned(), SECRET_BYTES // 64)
        report = json.loads((self.directory / "audit").read_text())
        self.assertGreater(report["guest_ram_mapped_bytes"], SECRET_BYTES)

    # HD-26: what went through the region is there while it does, and gone a moment later, so that a
    # device that turns hostile finds nothing old.
    def test_the_region_does_not_keep_what_went_through_it(self):
        key = secrets.token_hex(16).encode()
        with self.device() as device:
            python = f"{sys.executable} {harness.REPO}/tests"
            count = f"$({python}/memory_scan.py {device.pid} {key.hex()})"
            self.boot(device, f"""
wait-for /dev/vda
yes {key.decode()} | head -c 1048576 >/run/data
while true; do
  dd if=/run/data of=/dev/vda bs=64k oflag=direct
  dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct
done 2>/dev/null &
host found
kill $!
wait
host gone
""", "--on", f"found=until [ {count} -gt 0 ]; do :; done",
                      "--on", f"gone=until [ {count} -eq 0 ]; do :; done")
            self.assertEqual(device.stop(), 0)

    # Under require, descriptors of guest memory that the VMM sends are closed, not mapped.
    def test_shared_guest_memory_is_refused_under_require(self):
        key = secrets.token_hex(16).encode()
        with self.device(guarded=False) as device:
            self.boot(device, self.hide_and_work(key), "--on", self.scan(device, key),
                      "--memory-backend", "shared", "--with", "fio")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(self.scanned(), 0)
        stats = device.stats()["dma"]
        self.assertGreater(stats["fds_closed"], 0)
        self.assertEqual((stats["fds_mapped"], stats["guest_bytes_max"]), (0, 0))

    # Behind a guard they do not even arrive.
    def test_shared_guest_memory_stops_at_the_guard(self):
        with self.device() as device:
            self.boot(device, "wait-for /dev/vda\ndd if=/dev/vda of=/dev/null bs=1M count=1",
                      "--memory-backend", "shared")
            guard = device.guard
            self.assertEqual(device.stop(), 0)
        self.assertGreater(guard.counters()["DMA_MAP"]["answered"], 0)
        self.assertTrue(any("its file closed" in entry["reason"] for entry in guard.audit()
                            if entry.get("message") == "DMA_MAP"), guard.audit())
        self.assertEqual(device.stats()["dma"]["maps"], 0)


class Negotiation(VmTest):
    # REQUIREMENTS 1.6, offered and not accepted, mandatory: refused, and nothing hangs. GEN-DV1.
    def test_stock_driver_is_refused_cleanly_under_require(self):
        with self.device() as device:
            console = self.boot(device, """
modprobe virtio_blk
test ! -e /dev/vda
dmesg | grep 'device refuses features'
echo "@@WENT on@@"
""", "--bios", "seabios", module=False)
            self.assertEqual(harness.said(console, "WENT"), ["on"])
            self.assertEqual(device.stop(), 0)
        self.assertGreater(device.stats()["refusals"], 0)
        self.assertTrue(any("SWIOTLB" in line or "region" in line for line in device.log()[1:-1]),
                        device.log())
        self.assertEqual(device.stats()["bytes_read"], 0)

    # REQUIREMENTS 1.6, offered and not accepted, hint: served over memory that the VMM shared.
    def test_stock_driver_works_under_prefer_with_shared_memory(self):
        with self.device("--dma", "prefer") as device:
            self.boot(device, """
wait-for /dev/vda
dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
dd if=/tmp/data of=/dev/vda bs=1M 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=1M count=8 2>/dev/null | cmp - /tmp/data
""", "--memory-backend", "shared", "--bios", "seabios", module=False)
            self.assertEqual(device.stop(), 0)
        self.assertGreater(device.stats()["dma"]["guest_bytes_max"], 0)
        self.assertFalse(harness.view_is_inside(device.stats()["view"]), device.stats()["view"])

    # A driver that accepts the region gets it under prefer too, with addresses by offset: DMB-D6.
    def test_offsets_and_prefer_with_our_guest_driver(self):
        with self.device("--dma", "prefer", "--address", "offset") as device:
            console = self.boot(device, """
wait-for /dev/vda
dmesg | grep virtio_pci_airlock
dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
dd if=/tmp/data of=/dev/vda bs=1M 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vda bs=1M count=8 2>/dev/null | cmp - /tmp/data
""")
            self.assertEqual(device.stop(), 0)
        self.assertIn("offsets", console)


class Rings(VmTest):
    """Both formats of the ring, under the kernel's driver and under ours. VIRTIO 1.3, 2.7, 2.8."""

    # Feature bits 28, 29 and 34: indirect tables in both, event indices not over a shadow ring.
    FORMATS = {"packed": "111", "split": "100"}

    def device_of(self, name, *arguments):
        choice = "on" if name == "packed" else "off"
        return self.device("--features", f"packed={choice}", *arguments)

    def test_stock_driver_verifies_what_it_wrote(self):
        for name, bits in self.FORMATS.items():
            with self.subTest(name), self.device_of(name, "--queues", "2") as device:
                self.boot(device, f"""
wait-for /dev/vda
bits=$(cat /sys/block/vda/device/features)
test "$(echo $bits | cut -c29,30,35)" = {bits} || {{ echo $bits; exit 1; }}
for job in '4k 1' '4k 32' '64k 8' '1M 4'; do
  set -- $job
  fio --name=verify --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randwrite --bs=$1 \
    --iodepth=$2 --size=16M --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/tmp/out ||
    {{ cat /tmp/out; exit 1; }}
done
""", "--with", "fio")
                self.assertEqual(device.stop(), 0)
                self.assertEqual(device.stats()["io_errors"], 0)
                self.assertEqual(device.stats()["violations"], 0)

    # What the device offers first is not what is checked most: packed rings are for who asks.
    def test_the_module_takes_split_rings_unless_told_otherwise(self):
        with self.device_of("packed") as device:
            self.boot(device, """
wait-for /dev/vda
test "$(cut -c35 /sys/block/vda/device/features)" = 0
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
dd if=/tmp/data of=/dev/vda bs=1M oflag=direct 2>/dev/null
dd if=/dev/vda bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/data
""", "--module", harness.guest_module(), module=False)
            self.assertEqual(device.stop(), 0)

    # Without a kernel module: our own driver in the guest, by sysfs, from a stock kernel's root.
    def test_userspace_driver_in_the_guest(self):
        with open(self.image, "wb") as file:
            file.truncate(8 << 20)
        for name in self.FORMATS:
            with self.subTest(name), self.device_of(name, "--address", "offset") as device:
                self.boot(device, f"""
echo 0000:00:10.0 >/sys/bus/pci/drivers/virtio-pci/unbind
airlock blk info --device pci:0000:00:10.0 | tee /tmp/info
grep -w {name} /tmp/info
airlock blk verify --device pci:0000:00:10.0 --total 8M --iodepth-max 16
""", "--program", harness.AIRLOCK, module=False)
                self.assertEqual(device.stop(), 0)
                self.assertEqual(device.stats()["violations"], 0)


class Module(VmTest):
    POOL = "/sys/kernel/debug/virtio_pci_airlock/0000:00:10.0"

    # DT-10: the fill of the pool under swiotlb's names, in slots of 2 KiB; 0 starts anew, and 1 is
    # refused. DMB-N1: a mapping takes no more than an eighth of the pool.
    def test_pool_tells_how_full_it_is(self):
        with self.device("--region", "16M", "--features", "packed=off") as device:
            console = self.boot(device, f"""
wait-for /dev/vda
dmesg | grep 'largest mapping 2048 KiB'
cd {self.POOL}
echo "@@SLOTS $(cat io_tlb_nslabs) $(cat io_tlb_used)@@"
dd if=/dev/vda of=/dev/null bs=2M count=8 iflag=direct 2>/dev/null
echo "@@AFTER $(cat io_tlb_used) $(cat io_tlb_used_hiwater)@@"
echo 0 >io_tlb_used_hiwater
echo "@@ANEW $(cat io_tlb_used) $(cat io_tlb_used_hiwater)@@"
if echo 1 >io_tlb_used_hiwater; then exit 1; fi
""")
            self.assertEqual(device.stop(), 0)
        slots, rings = map(int, harness.said(console, "SLOTS")[0].split())
        used, high = map(int, harness.said(console, "AFTER")[0].split())
        self.assertEqual((slots, used), ((16 << 20) // 2048, rings))
        self.assertGreater(high, used)
        self.assertEqual(harness.said(console, "ANEW"), [f"{used} {used}"])

    # DEF-6: the region is mapped write-back where the processor lets it: above 4 GiB, where a BAR
    # of 2 GiB has to go. Its twin, the registers, are not.
    def test_region_is_mapped_write_back(self):
        with self.device("--region", "2G") as device:
            self.boot(device, """
wait-for /dev/vda
set -- $(cut -d' ' -f1 /sys/bus/pci/devices/0000:00:10.0/resource)
list=/sys/kernel/debug/x86/pat_memtype_list
grep "mem $3-.*write-back" $list
grep "mem $1-.*uncached" $list
""", "--bios", "seabios")
            self.assertEqual(device.stop(), 0)


class Data(VmTest):
    # A kernel driver that holds the device is not driven over.
    def test_userspace_driver_keeps_off_a_device_in_use(self):
        with self.device() as device:
            self.boot(device, """
wait-for /dev/vda
if airlock blk info --device pci:0000:00:10.0 2>/tmp/err; then exit 1; fi
cat /tmp/err
grep unbind /tmp/err
""", "--program", harness.AIRLOCK)
            self.assertEqual(device.stop(), 0)

    # A disk that fails reaches the guest as an I/O error; the device goes on.
    def test_full_disk_is_an_io_error_in_the_guest_and_the_device_goes_on(self):
        small = harness.small_file_system(self, "8m")
        self.image = small / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(DISK_BYTES)
        with self.device() as device:
            self.boot(device, """
wait-for /dev/vda
if dd if=/dev/zero of=/dev/vda bs=1M count=32 oflag=direct 2>/tmp/err; then exit 1; fi
grep -i 'output error' /tmp/err
dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct
""")
            self.assertEqual(device.stop(), 0)
        self.assertGreater(device.stats()["io_errors"], 0)
        self.assertTrue(any("space" in line for line in device.log()), device.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
