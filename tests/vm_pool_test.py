# SPDX-License-Identifier: Apache-2.0
"""The guest module's pool under load, on several CPUs: what it does, as it tells itself."""

import collections
import re
import unittest

import harness
from vm_case import VmTest

POOL = "/sys/kernel/debug/virtio_pci_airlock/0000:00:10.0"
SLOT = 2048
EVENT = re.compile(r"airlock_(\w+): device=(\S+) handle=0x(\w+) size=(\d+) direction=(\w+) "
                   r"slots=(\d+)")

# Four CPUs write and verify; what the pool then says of itself, its peak started anew before. Each
# hands over 32 requests at once, before the device hears of the first. Should the device have been
# quick enough for them all the same, they try again.
LOAD = f"""
wait-for /dev/vda
cd {POOL}
echo "@@AREAS $(cat areas)@@"
echo 0 >io_tlb_used_hiwater
echo "@@IDLE $(cat io_tlb_used)@@"
while :; do
  fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randwrite --bs=%(bs)s \
    --iodepth=32 --iodepth_batch=32 --numjobs=4 --offset_increment=6M --size=6M \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/tmp/out ||
    {{ cat /tmp/out; exit 1; }}
  test "$(cat exhausted)" = 0 -a %(exhaust)s = yes || break
done
echo "@@AFTER $(cat io_tlb_used) $(cat io_tlb_used_hiwater) $(cat exhausted) $(cat refused)@@"
if dmesg | grep -iE 'i/o error|call trace|airlock.*(refused|in use)'; then exit 1; fi
"""

# For 20 seconds, and from two CPUs: more and larger requests than the rings take, down to a sector,
# so that the pool is taken and given back in all lengths, beside a file system's. What the block
# layer then says are the limits, and the pool of itself.
MIXED = f"""
wait-for /dev/vda
cd /sys/block/vda
echo "@@LIMITS $(cat queue/max_segment_size) $(cat queue/max_segments) $(cat queue/nr_requests)@@"
fio --filename=/dev/vda --ioengine=libaio --time_based --runtime=20 --size=32M --group_reporting \
  --name=small --numjobs=6 --direct=1 --rw=randrw --bs=512 --iodepth=64 --iodepth_batch=64 \
  --name=large --numjobs=4 --direct=1 --rw=randrw --bsrange=4k-1m --iodepth=32 \
  --name=cached --numjobs=2 --rw=randrw --bs=4k --fsync=64 --minimal >/tmp/out ||
  {{ cat /tmp/out; exit 1; }}
cd {POOL}
echo "@@AFTER $(cat io_tlb_nslabs) $(cat io_tlb_used_hiwater) $(cat exhausted) $(cat refused)@@"
if dmesg | grep -iE 'i/o error|call trace|airlock.*(refused|in use)'; then exit 1; fi
"""


class Pool(VmTest):
    def load(self, region, *arguments, bs="96k", exhaust="yes", kernel="6.1", queues=4):
        """Areas, slots in use before and after, their peak, mappings that had to wait."""
        with self.device("--region", region, "--queues", str(queues), *arguments) as device:
            console = self.boot(device, LOAD % {"bs": bs, "exhaust": exhaust}, "--with", "fio",
                                "--cpus", "4", kernel=kernel)
            self.assertEqual(device.stop(), 0)
        stats = device.stats()
        self.assertEqual((stats["violations"], stats["io_errors"]), (0, 0))
        areas = int(harness.said(console, "AREAS")[0])
        idle = int(harness.said(console, "IDLE")[0])
        used, high, exhausted, refused = map(int, harness.said(console, "AFTER")[0].split())
        self.assertEqual((used, refused), (idle, 0))
        return areas, idle, high, exhausted

    # HD-30, DMB-N1: more requests than the pool has room for wait; none fails, none is lost, and
    # afterwards everything is free again.
    def test_an_exhausted_pool_makes_requests_wait(self):
        areas, idle, high, exhausted = self.load("8M", "--features", "packed=off")
        self.assertEqual(areas, 4)
        self.assertGreater(exhausted, 0)
        self.assertGreater(high, idle + (4 << 20) // SLOT)

    # Its twin: where there is room for all of them, nobody waits.
    def test_a_pool_with_room_lets_nobody_wait(self):
        areas, _, _, exhausted = self.load("64M", bs="4k", exhaust="no")
        self.assertEqual((areas, exhausted), (4, 0))

    # HD-30: over packed rings nobody can wait, and nobody has to: what rings take fits the pool.
    def test_packed_rings_never_run_out(self):
        for kernel in "6.1", "6.12", "7.2":
            with self.subTest(kernel):
                with self.device("--region", "4M", "--queues", "2") as device:
                    console = self.boot(device, MIXED, "--with", "fio", "--cpus", "2",
                                        kernel=kernel, timeout=600)
                    self.assertEqual(device.stop(), 0)
                stats = device.stats()
                self.assertEqual((stats["violations"], stats["io_errors"]), (0, 0))
                self.assertEqual(harness.said(console, "LIMITS"), ["4096 20 22"])
                said = harness.said(console, "AFTER")[0]
                slots, high, exhausted, refused = map(int, said.split())
                self.assertEqual((exhausted, refused), (0, 0))
                # Nearly all of it was taken.
                self.assertGreater(high, slots * 3 // 4)

    # Its twin: a pool that is too small for two rings of it is refused.
    def test_packed_rings_are_refused_where_they_might_run_out(self):
        with self.device("--region", "512K", "--queues", "2") as device:
            console = self.boot(device, """
test ! -e /dev/vda
echo "@@SAYS $(dmesg | sed -n 's/.*region of \\(.*\\) or more.*/\\1/p' | head -1)@@"
""", "--cpus", "2")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(harness.said(console, "SAYS"),
                         ["512 KiB is too small for 2 queues: set it to 1 MiB"])

    # HD-30: a pool that requests might not fit into is refused with the size that is needed;
    # the smallest that is taken gets along, with segments no larger than an eighth of it.
    def test_a_pool_is_refused_before_it_can_hang(self):
        with self.device("--region", "256K") as device:
            console = self.boot(device, """
dmesg | grep 'region of 256 KiB is too small'
test ! -e /dev/vda
echo "@@SAYS $(dmesg | sed -n 's/.*set it to \\([0-9]* MiB\\) or more.*/\\1/p' | head -1)@@"
""", "--cpus", "4")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(harness.said(console, "SAYS"), ["1 MiB"])
        for region in "2M", "4M":
            with self.subTest(region):
                _, _, _, exhausted = self.load(region, "--features", "packed=off", queues=1)
                self.assertGreater(exhausted, 0)

    # DT-10 in motion: an event for each mapping and its end, with the device, what it was told, and
    # the right size; nothing stays mapped.
    def test_the_trace_shows_each_mapping(self):
        with self.device("--region", "8M") as device:
            console = self.boot(device, f"""
wait-for /dev/vda
mount -t tracefs tracefs /sys/kernel/tracing || true
cd /sys/kernel/tracing
echo "@@IDLE $(cat {POOL}/io_tlb_used)@@"
echo 1 >events/airlock/enable
dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null
dd if=/dev/zero of=/dev/vda bs=4k count=3 oflag=direct 2>/dev/null
echo 0 >events/airlock/enable
grep airlock_ trace
echo "@@AFTER $(cat {POOL}/io_tlb_used)@@"
""", "--cpus", "4")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(harness.said(console, "IDLE"), harness.said(console, "AFTER"))
        live = {}
        moved = collections.Counter()
        for name, pci, handle, size, direction, slots in EVENT.findall(console):
            size = int(size)
            self.assertEqual((pci, int(slots)), ("0000:00:10.0", -(-size // SLOT)))
            if name == "map":
                self.assertNotIn(handle, live)
                live[handle] = (size, direction)
                moved[direction, size >= 512] += size
            else:
                self.assertEqual((name, live.pop(handle, None)), ("unmap", (size, direction)))
        self.assertEqual(live, {})
        self.assertEqual(moved["FROM_DEVICE", True], 4 * 65536)
        self.assertEqual(moved["TO_DEVICE", True], 3 * 4096)
        self.assertEqual(moved["FROM_DEVICE", False], 7)  # a status byte each


if __name__ == "__main__":
    unittest.main(verbosity=2)
