# SPDX-License-Identifier: Apache-2.0
"""airlock attach in a real guest: a stock kernel, and of modules none but its own.

AIRLOCK_KERNELS names the lab's kernels to try, "6.1 6.12"; the default is the first."""

import os
import re
import unittest

import harness
from vm_case import VmTest

KERNELS = os.environ.get("AIRLOCK_KERNELS", "6.1").split()
ADDRESS = "0000:00:10.0"
PLUGIN = harness.AIRLOCK.parent / "nbdkit-airlock-plugin.so"
# The lab keeps each program's libraries beside it, and so the plugin is one of nbdkit's.
LIBRARIES = "/lab/programs/nbdkit/lib"

# Guest commands: start attaches the disk, stop ends that with the exit status it had.
FUNCTIONS = f"""
attach() {{
  exec airlock attach --device pci:{ADDRESS} --export nbd:unix:/run/disk.nbd \
    --plugin {LIBRARIES}/{PLUGIN.name}
}}
start() {{
  mkfifo /run/said
  attach >/run/said &
  pid=$!
  read -r line </run/said
  echo "@@SAID $line@@"
  nbdkit=$(grep -l "^PPid:.$pid\\$" /proc/[0-9]*/status | cut -d/ -f3)
  /lab/bin/nbd-client -unix /run/disk.nbd /dev/nbd0 -b 512
}}
stop() {{
  /lab/bin/nbd-client -d /dev/nbd0
  kill $pid
  wait $pid
}}
unbind() {{
  echo {ADDRESS} >/sys/bus/pci/drivers/virtio-pci/unbind
}}
# Context switches and ticks of nbdkit: a sleeping process has no more of them.
work_done() {{
  cat /proc/$nbdkit/task/*/status | awk '/ctxt_switches/ {{ n += $2 }} END {{ printf "%d ", n }}'
  cut -d' ' -f14,15 /proc/$nbdkit/stat
}}
"""

# Files of many sizes, with their sums; a copy of this machine's programs among them.
WRITE_A_TREE = """
mkdir -p /mnt/tree/deep/er
cp /bin/busybox /mnt/tree/
i=0
while [ $i -lt 60 ]; do
  dd if=/dev/urandom of=/mnt/tree/deep/er/$i bs=997 count=$((i * i / 4 + 1)) 2>/dev/null
  i=$((i + 1))
done
(cd /mnt && find tree -type f | sort | xargs sha256sum) >/run/SHA256SUMS
cp /run/SHA256SUMS /mnt/
sync
"""


class Attach(VmTest):
    def boot_with_nbdkit(self, device, script, kernel):
        arguments = ["--guest-module", "nbd", "--with", "mkfs.ext4"]
        programs = (harness.AIRLOCK, harness.run("which", "nbdkit").strip(), "/usr/sbin/nbd-client")
        for program in programs:
            arguments += ["--program", program]
        needed = re.findall(r"=> (/\S+)", harness.run("ldd", PLUGIN))
        for path in (PLUGIN, *needed):
            arguments += ["--file", f"{path}:{LIBRARIES}/{os.path.basename(path)}"]
        return self.boot(device, FUNCTIONS + script, *arguments, kernel=kernel, module=False)

    # The whole way: a file system is made, filled, checked, read again and found by the host.
    def test_ext4_on_a_stock_kernel(self):
        for kernel in KERNELS:
            with self.subTest(kernel), self.device("--queues", "2") as device:
                console = self.boot_with_nbdkit(device, f"""
unbind
modprobe nbd
start
/lab/bin/mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/nbd0
mount -t ext4 /dev/nbd0 /mnt
{WRITE_A_TREE}
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/nbd0 /mnt
(cd /mnt && sha256sum -c /run/SHA256SUMS) | grep -v ': OK' && exit 1
umount /mnt
stop
echo "@@FILES $(wc -l </run/SHA256SUMS)@@"
cut -d' ' -f1 /proc/modules | sort >/run/modules
! grep airlock /run/modules
""", kernel)
                self.assertEqual(device.stop(), 0)
                self.assertEqual(harness.said(console, "FILES"), ["61"])
                self.assertIn("nbd-client -unix /run/disk.nbd", harness.said(console, "SAID")[0])
                self.assertEqual(device.stats()["violations"], 0)
                self.check_on_the_host()

    def check_on_the_host(self):
        harness.check_ext4(self.image)
        sums = self.directory / "sums"
        harness.read_from_ext4(self.image, "SHA256SUMS", sums)
        lines = sums.read_text().splitlines()
        self.assertEqual(len(lines), 61)
        copy = self.directory / "copy"
        for line in lines:
            digest, name = line.split()
            harness.read_from_ext4(self.image, name, copy)
            self.assertEqual(harness.sha256(copy), digest, name)

    # Polling has no interrupt to wait for, and still ends when nothing is in flight.
    def test_uses_no_cpu_at_rest(self):
        for kernel in KERNELS:
            with self.subTest(kernel), self.device() as device:
                console = self.boot_with_nbdkit(device, """
unbind
modprobe nbd
start
dd if=/dev/nbd0 of=/dev/null bs=4k count=100 iflag=direct 2>&1 | tail -n 1
busy=$(work_done)
before=
while [ "$before" != "$(work_done)" ]; do
  before=$(work_done)
  sleep 2 # the observation window, not a delay for something
done
dd if=/dev/nbd0 of=/dev/null bs=4k count=100 skip=2000 iflag=direct 2>/dev/null
echo "@@WORK $busy; $before; $(work_done)@@"
stop
""", kernel)
                self.assertEqual(device.stop(), 0)
                busy, rest, after = (tuple(map(int, part.split()))
                                     for part in harness.said(console, "WORK")[0].split(";"))
                self.assertGreaterEqual(rest, busy)
                self.assertGreater(after[0], rest[0])  # the twin: at work it does switch

    # Each obstacle is one line, with the command that removes it.
    def test_obstacles_are_named(self):
        with self.device() as device:
            console = self.boot_with_nbdkit(device, """
refused() { if (attach) 2>/run/error; then exit 1; fi; cat /run/error; }
echo "@@BOUND $(refused)@@"
unbind
modprobe nbd
echo 0 >/sys/bus/pci/devices/0000:00:10.0/enable || true
mount -t securityfs securityfs /sys/kernel/security
start
stop
echo integrity >/sys/kernel/security/lockdown
echo "@@LOCKED $(refused)@@"
""", "6.1")
            self.assertEqual(device.stop(), 0)
        bound, locked = harness.said(console, "BOUND"), harness.said(console, "LOCKED")
        self.assertIn("virtio-pci holds it", bound[0])
        self.assertIn(f"echo {ADDRESS} > /sys/bus/pci/devices/{ADDRESS}/driver/unbind", bound[0])
        self.assertIn("locked down (integrity)", locked[0])
        self.assertIn("Secure Boot", locked[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
