# SPDX-License-Identifier: Apache-2.0
"""Virtqueues of the guest module at work in a VM: interrupts, polled queues, queues that are reset.

Needs the lab (lab/setup) and the binary that AIRLOCK names."""

import unittest

import harness
from vm_case import VmTest

REQUESTS = 1024  # of 4 KiB, for each processor
FORMATS = {"packed": "on", "split": "off"}


class RingVmTest(VmTest):
    def device_of(self, name, *arguments):
        return self.device("--features", f"packed={FORMATS[name]}", "--queues", "2", *arguments)


class Progress(RingVmTest):
    # Each processor keeps 32 requests in flight in its own queue, and only that queue's interrupts
    # bring them back. A split ring's come through its shadow.
    def test_a_busy_disk_lives_on_its_interrupts(self):
        for name in FORMATS:
            with self.subTest(name), self.device_of(name) as device:
                console = self.boot(device, f"""
wait-for /dev/vda
count() {{ awk "/virtio0-req.$1\\$/ {{ print \\$2 + \\$3 }}" /proc/interrupts; }}
before0=$(count 0) before1=$(count 1)
for cpu in 0 1; do
  fio --name=busy --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randwrite --bs=4k \
    --iodepth=32 --cpus_allowed=$cpu --offset=$((cpu * 32))M --size={REQUESTS * 4096} \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/tmp/out$cpu || touch /tmp/failed &
done
wait
test ! -e /tmp/failed || {{ cat /tmp/out*; exit 1; }}
echo "@@INTERRUPTS $(($(count 0) - before0)) $(($(count 1) - before1))@@"
""", "--with", "fio", "--cpus", "2")
                self.assertEqual(device.stop(), 0)
                self.assertEqual(device.stats()["violations"], 0)
                counts = [int(n) for n in harness.said(console, "INTERRUPTS")[0].split()]
                # About 32 at most come back with one, and each block is written and read.
                for count in counts:
                    self.assertGreaterEqual(count, REQUESTS // 32)

    # A queue that the driver polls has no callback, and in a packed ring no interrupt. A shadow is
    # filled by interrupts all the same, or nothing would ever come.
    def test_a_polled_queue_sees_its_completions(self):
        for name in FORMATS:
            with self.subTest(name), self.device_of(name) as device:
                console = self.boot(device, """
wait-for /dev/vda
test "$(cat /sys/block/vda/queue/io_poll)" = 1
fio --name=polled --filename=/dev/vda --direct=1 --ioengine=io_uring --hipri --rw=randread \
  --bs=4k --iodepth=8 --size=4M --minimal >/tmp/out || { cat /tmp/out; exit 1; }
echo "@@VECTORS $(grep -c virtio0-req /proc/interrupts)@@"
""", "--with", "fio", "--append", "virtio_blk.poll_queues=1")
                self.assertEqual(device.stop(), 0)
                vectors = {"packed": "1", "split": "2"}[name]
                self.assertEqual(harness.said(console, "VECTORS"), [vectors])


class QueueReset(RingVmTest):
    """RING_RESET (bit 40), by a driver that does nothing else: kernel/tests/queue_reset."""

    def reset(self, name):
        target = harness.REPO / "build/lab/modules/6.1/queue_reset"
        harness.run(harness.REPO / "lab/build-module", "--source",
                    harness.REPO / "kernel/tests/queue_reset", "6.1", target)
        with self.device_of(name) as device:
            console = self.boot(device, """
echo "@@BIT $(cut -c41 /sys/bus/virtio/devices/virtio0/features)@@"
echo "@@RESULT $(dmesg | grep -o 'queue_reset: read.*')@@"
rmmod queue_reset
""", "--module", target / "queue_reset.ko")
            self.assertEqual(device.stop(), 0)
            self.assertEqual(device.stats()["violations"], 0)
        return harness.said(console, "BIT")[0], harness.said(console, "RESULT")[0]

    # VIRTIO 1.3, 2.6.1, 4.1.4.3: what was in the queue comes back once, and the queue goes on,
    # with fewer entries too.
    def test_a_packed_queue_is_reset_and_resized(self):
        with open(self.image, "r+b") as file:
            file.write(b"\x2a")
        bit, result = self.reset("packed")
        self.assertEqual(bit, "1")
        self.assertEqual(result, "queue_reset: read 42, added 0, reset 0, returned 1, read 42, "
                                 "resized 0 to 128, read 42")

    # The twin: for a shadow the bit is not accepted, and virtio_ring says EPERM to its driver.
    def test_a_split_queue_cannot_be_reset_and_goes_on(self):
        bit, result = self.reset("split")
        self.assertEqual(bit, "0")
        self.assertRegex(result, "reset -1, .* resized -1 to 256, ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
