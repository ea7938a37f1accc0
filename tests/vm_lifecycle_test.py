# SPDX-License-Identifier: Apache-2.0
"""What a guest does to its devices: sleep, unbind, remove, unload, all while the disk is busy.

Needs the lab and the binary that AIRLOCK names. AIRLOCK_KERNELS: guest kernels, "6.1" by default;
AIRLOCK_ROUNDS: how often each operation is done, 5 by default."""

import contextlib
import json
import os
import sys
import threading
import unittest

import harness
from qmp import Qmp
from vm_case import VmTest

KERNELS = os.environ.get("AIRLOCK_KERNELS", "6.1").split()
ROUNDS = int(os.environ.get("AIRLOCK_ROUNDS", "5"))
BOOT_SECONDS = 240
ROUND_SECONDS = 20
PORTS = 25  # of a machine at once: a device that was added cannot be taken out, see HotAdd

# What no round may leave in the kernel's log. Failed requests are not among them: they are what a
# disk that is taken away under load makes.
COMPLAINTS = (r"WARNING:|BUG:|Oops|blocked for more|soft lockup|rcu.*stall|slots still in use|"
              r"refused:|airlock: (no answer|the region moved|not restarted|queue)")

GUEST = f"""
device=0000:00:10.0
driver=/sys/bus/pci/drivers/virtio_pci_airlock
pool=/sys/kernel/debug/virtio_pci_airlock/$device
rounds={ROUNDS}

# Everything that came back has to be the same, and what was written too.
disk_works() {{
  wait-for /dev/vda
  dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
  dd if=/tmp/data of=/dev/vda bs=64k seek=512 oflag=direct 2>/dev/null
  dd if=/dev/vda bs=64k skip=512 count=16 iflag=direct 2>/dev/null | cmp - /tmp/data
}}

load="--name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 --bs=16k --size=8M \
  --verify=crc32c --verify_fatal=1 --minimal"
reads() {{ awk '{{ print $1 }}' /sys/block/vda/stat; }}

# Starts a load that only the end of the disk ends, and that reads all that it writes; returns once
# it has found some of that as it was, and requests are in flight.
start_load() {{
  wait-for /dev/vda
  started=$(reads)
  fio $load --rw=randwrite --time_based --runtime=3600 --verify_backlog=32 >/tmp/load 2>&1 &
  loading=$!
  until [ $(reads) -gt $((started + 64)) ] && grep -q '[1-9]' /sys/block/vda/inflight; do
    kill -0 $loading || {{ cat /tmp/load; exit 1; }}
    usleep 10000
  done
  if grep . /tmp/load; then exit 1; fi
}}

# The disk is gone, so the load has to have ended by itself, with an error. (That it finds wrong
# bytes now means nothing: to read where a disk has ended is no error, and fio looks at old bytes.)
load_ended() {{
  if wait $loading; then echo 'the load never noticed'; exit 1; fi
}}

# Every block of the load, on a disk that is back, is one that it wrote, whole.
fill() {{ fio $load --rw=write --do_verify=0 >/tmp/load 2>&1 || {{ cat /tmp/load; exit 1; }}; }}
load_is_whole() {{
  fio $load --rw=read --verify_header_seed=0 >/tmp/load 2>&1 || {{ cat /tmp/load; exit 1; }}
}}

pool_is_gone() {{
  if [ -e $pool ]; then echo "$pool is still there"; exit 1; fi
}}

# Pool slots that are in use while the disk does nothing: the rings and the first page.
used_at_rest() {{
  until [ "$(tr -s ' ' </sys/block/vda/inflight)" = ' 0 0' ]; do usleep 10000; done
  cat $pool/io_tlb_used
}}

no_complaints() {{
  if dmesg | grep -E '{COMPLAINTS}'; then exit 1; fi
}}
"""


class Footprint:
    """What the device process holds, sampled by the guest's `host sample` once a round."""

    def __init__(self, directory):
        self.path = directory / "footprint"

    def option(self, device):
        """The --on argument for lab/vm."""
        return (f"sample=echo $(ls /proc/{device.pid}/fd | wc -l) "
                f"$(grep RssAnon /proc/{device.pid}/status | tr -dc 0-9) >>{self.path}")

    def samples(self):
        """(open descriptors, private memory in KiB), a pair a round."""
        return [tuple(map(int, line.split())) for line in self.path.read_text().splitlines()]


class LifecycleTest(VmTest):
    """Runs one script on each kernel and checks what guest and device are left with."""

    # A heap settles within a few rounds; what leaks goes on growing.
    SETTLED_KIB = 512

    def run_rounds(self, script, *arguments, setup=None, serve=("--queues", "2")):
        for kernel in KERNELS:
            with self.subTest(kernel=kernel), self.device("--region", "32M", *serve) as device:
                footprint = Footprint(self.directory)
                footprint.path.unlink(missing_ok=True)
                if setup:
                    setup()
                console = self.boot(
                    device, GUEST + script, "--on", footprint.option(device), "--with", "fio",
                    "--cpus", "2", *arguments, kernel=kernel,
                    timeout=BOOT_SECONDS + ROUNDS * ROUND_SECONDS)
                self.assertEqual(device.stop(), 0)
                self.check_footprint(footprint.samples())
                self.assertEqual(device.stats()["violations"], 0)
                print(f"{self.id().split('.', 1)[1]} {kernel}: {ROUNDS} rounds,",
                      f"descriptors and KiB {footprint.samples()[0]} -> {footprint.samples()[-1]}",
                      *harness.said(console, "RESULT"))

    def check_footprint(self, samples):
        self.assertEqual(len(samples), ROUNDS)
        self.assertEqual({fds for fds, _ in samples}, {samples[0][0]}, samples)
        self.assertLess(samples[-1][1] - samples[0][1], self.SETTLED_KIB, samples)


class Sleep(LifecycleTest):
    """Suspend to RAM and back: SeaBIOS on the PC board does the whole of S3."""

    def wake_whenever_asleep(self):
        """Plays the power button: wakes the machine each time that it fell asleep."""
        path = self.directory / "qmp"

        def wake():
            try:
                with Qmp(path) as qmp:
                    while True:
                        qmp.wait_event("SUSPEND")
                        qmp.command("system_wakeup")
            except (EOFError, OSError):
                pass  # the machine is off
        thread = threading.Thread(target=wake, daemon=True)
        thread.start()
        self.addCleanup(thread.join)

    # HD-25, DMB-D10: queues are made anew in a region that is where it was. The load verifies what
    # it reads and never sees an error: requests in flight end before the machine sleeps.
    def test_suspend_to_ram_and_resume_under_load(self):
        self.run_rounds("""
disk_works
before=$(used_at_rest)
touch /tmp/go
(
  while [ -e /tmp/go ]; do
    fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=8 --rw=randrw \\
      --bs=16k --size=8M --verify=crc32c --verify_fatal=1 --minimal >/tmp/load 2>&1 ||
      { cat /tmp/load; exit 1; }
  done
) &
load=$!
echo deep >/sys/power/mem_sleep
for round in $(seq $rounds); do
  until grep -q '[1-9]' /sys/block/vda/inflight; do
    kill -0 $load
    usleep 10000
  done
  echo mem >/sys/power/state
  host sample
done
rm /tmp/go
wait $load
disk_works
test "$(dmesg | grep -c 'Waking up from system sleep state S3')" -ge $rounds
test "$(used_at_rest)" = $before
if dmesg | grep 'I/O error'; then exit 1; fi
no_complaints
""", "--machine", "pc", "--bios", "seabios", "--append", "log_buf_len=8M",
                        "--qmp", self.directory / "qmp", setup=self.wake_whenever_asleep)


class Removal(LifecycleTest):
    """The disk is taken away under load and comes back, each time empty-handed and whole."""

    def take_away(self, away, back):
        self.run_rounds(f"""
disk_works
fill
before=$(used_at_rest)
for round in $(seq $rounds); do
  start_load
  {away}
  load_ended
  pool_is_gone
  {back}
  disk_works
  load_is_whole
  test "$(used_at_rest)" = $before
  host sample
done
no_complaints
echo "@@RESULT pool at rest $before slots each time@@"
""", "--append", "log_buf_len=8M")

    # HD-18: no interrupt finds a queue that is being freed. HD-27: every slot comes back.
    def test_unbind_and_bind_under_load(self):
        self.take_away("echo $device >$driver/unbind", "echo $device >$driver/bind")

    def test_remove_and_rescan_under_load(self):
        self.take_away("echo 1 >/sys/bus/pci/devices/$device/remove",
                       "echo 1 >/sys/bus/pci/rescan")

    # The override goes with the module: the stock driver may have the device in between, and the
    # module takes it back from there.
    def test_unload_and_load_under_load(self):
        self.take_away("rmmod virtio_pci_airlock",
                       "insmod /lab/modules/virtio_pci_airlock.ko packed=1")


class Failure(LifecycleTest):
    """The device stops or dies under load. Nobody waits for ever, and nothing is left behind."""

    # Where the descriptors of the only queue lie, from the end of the region, and feature bit 34.
    FORMATS = {"packed": ("on", 4096), "split": ("off", 8192)}

    SPOIL = "{python} {tests}/spoil_region.py {pid} {from_end}"
    # While the guest stands still: QEMU 11.1 aborts where a device dies within a message.
    DEATH = ("{python} {tests}/qmp.py {qmp} stop && kill -9 {pid} && "
             "until grep -q 'State:.Z' /proc/{pid}/status; do sleep 0.05; done && "
             "{python} {tests}/qmp.py {qmp} cont")

    def break_it(self, ring, command, script):
        packed, from_end = self.FORMATS[ring]
        for kernel in KERNELS:
            with self.subTest(kernel=kernel), \
                    self.device("--region", "32M", "--features", f"packed={packed}") as device:
                order = command.format(python=sys.executable, tests=harness.REPO / "tests",
                                       pid=device.pid, from_end=from_end,
                                       qmp=self.directory / "qmp")
                console = self.boot(device, GUEST + script, "--on", f"break={order}",
                                    "--with", "fio", "--cpus", "2",
                                    "--qmp", self.directory / "qmp", kernel=kernel,
                                    timeout=BOOT_SECONDS)
                yield device, console

    # HD-23: what is in flight when the device sets DEVICE_NEEDS_RESET ends with an error; then the
    # device is reset and works. HD-24: the status may come at any time.
    def stops_and_works_again(self, ring):
        for device, _ in self.break_it(ring, self.SPOIL, """
disk_works
before=$(used_at_rest)
start_load
until dmesg | grep 'airlock: the device stopped'; do host break; done
load_ended
until dmesg | grep 'was reset and works again'; do usleep 50000; done
disk_works
test "$(used_at_rest)" = $before
test $(cat $pool/refused) = 0
no_complaints
"""):
            self.assertEqual(device.stop(), 0)
            self.assertGreater(device.stats()["violations"], 0)

    def test_a_packed_device_that_stops_is_reset(self):
        self.stops_and_works_again("packed")

    def test_a_split_device_that_stops_is_reset(self):
        self.stops_and_works_again("split")

    # The rejecting twin: one that stops again and again is left alone. Its disk fails at once, and
    # can be removed and found again, which is a new start.
    def test_a_device_that_never_stops_stopping_is_given_up(self):
        for device, _ in self.break_it("packed", self.SPOIL, """
disk_works
until dmesg | grep 'airlock: not restarted: -16'; do
  dd if=/dev/vda of=/dev/null bs=16k count=64 iflag=direct 2>/dev/null &
  host break
  wait $! || true
done
if dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct; then exit 1; fi
echo 1 >/sys/bus/pci/devices/$device/remove
pool_is_gone
echo 1 >/sys/bus/pci/rescan
disk_works
"""):
            self.assertEqual(device.stop(), 0)

    # HD-19, HD-23: the process is killed: all registers read as ones, and no interrupt tells.
    def dies(self, ring):
        for device, _ in self.break_it(ring, self.DEATH, """
disk_works
start_load
host break
load_ended
if dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct; then exit 1; fi
echo 1 >/sys/bus/pci/devices/$device/remove
pool_is_gone
if dmesg | grep -E 'WARNING:|BUG:|Oops|slots still in use|refused:'; then exit 1; fi
"""):
            self.assertEqual(device.stop(), -9)

    def test_a_packed_device_that_dies_can_be_removed(self):
        self.dies("packed")

    def test_a_split_device_that_dies_can_be_removed(self):
        self.dies("split")


class Platform(LifecycleTest):
    """What is around the device: firmware, a guest IOMMU, a slot that is filled later, a reboot."""

    def run_once(self, script, *arguments, serve=()):
        for kernel in KERNELS:
            with self.subTest(kernel=kernel), self.device(*serve) as device:
                console = self.boot(device, GUEST + script, *arguments, kernel=kernel,
                                    timeout=BOOT_SECONDS)
                self.assertEqual(device.stop(), 0)
                self.assertEqual(device.stats()["violations"], 0)
                yield console

    # DEF-6: what the module says of its mapping is what the kernel says, and the kernel log has it.
    def memory_type_is(self, expected, region):
        for console in self.run_once("""
disk_works
claim=$(cat $pool/memory_type)
start=$(sed -n 3p /sys/bus/pci/devices/$device/resource | cut -d' ' -f1)
grep "mem $start-.*] $claim\$" /sys/kernel/debug/x86/pat_memtype_list
dmesg | grep "airlock: region at $start mapped $claim"
echo "@@TYPE $claim@@"
""", "--bios", "seabios", serve=("--region", region)):
            self.assertEqual(harness.said(console, "TYPE"), [expected])

    def test_memory_type_above_4_gib_is_write_back(self):
        self.memory_type_is("write-back", "2G")

    def test_memory_type_below_4_gib_is_told_to_be_uncached(self):
        self.memory_type_is("uncached-minus", "64M")

    # What the device reaches is in its own BAR, so a guest IOMMU has nothing to translate.
    def test_guest_iommu_makes_no_difference(self):
        for mode in ("bus", "offset"):
            for _ in self.run_once("""
dmesg | grep 'DMAR: IOMMU enabled'
test -e /sys/bus/pci/devices/$device/iommu_group
disk_works
test $(cat $pool/refused) = 0
no_complaints
echo $device >$driver/unbind
test -e /sys/bus/pci/devices/$device/iommu_group
echo $device >$driver/bind
disk_works
""", "--qemu-arg=-device", "--qemu-arg=intel-iommu,caching-mode=on",
                                   "--append", "intel_iommu=on", serve=("--address", mode)):
                pass

    # Shutdown resets the device under load; the next kernel finds it as the first one did.
    def test_reboot_under_load(self):
        for console in self.run_once("""
if [ $LAB_BOOT = 1 ]; then
  start_load
  reboot -f
  sleep 60
fi
disk_works
no_complaints
echo "@@BOOTS $LAB_BOOT@@"
""", "--reboots", "1", "--with", "fio"):
            self.assertEqual(harness.said(console, "BOOTS"), ["2"])

    # A queue's interrupt can be steered, and goes where it was told to.
    def test_interrupt_affinity(self):
        for _ in self.run_once("""
disk_works
irq=$(sed -n 's/^ *\\([0-9]*\\):.*virtio0-config$/\\1/p' /proc/interrupts)
echo 2 >/proc/irq/$irq/smp_affinity
grep -x 2 /proc/irq/$irq/smp_affinity
test $(grep -c 'virtio0-req' /proc/interrupts) = 2
for queue in 0 1; do
  irq=$(sed -n "s/^ *\\([0-9]*\\):.*virtio0-req.$queue\$/\\1/p" /proc/interrupts)
  test $(cat /proc/irq/$irq/effective_affinity_list) = $(cat /sys/block/vda/mq/$queue/cpu_list)
done
""", "--cpus", "2", serve=("--queues", "2")):
            pass


class HotAdd(VmTest):
    """QEMU adds a device to a running guest. It cannot take it away: 11.1 aborts over MSI-X."""

    # The slot's window has to have room for the region: hpmmioprefsize.
    def test_a_device_is_added_to_a_running_guest(self):
        with self.device() as first, \
                harness.Device("blk", "--backend", "memory:32M", directory=self.directory,
                               name="second", guard="bounce") as second:
            arguments = json.dumps({"driver": "vfio-user-pci", "id": "hot", "bus": "port0",
                                    "socket": {"type": "unix", "path": str(second.socket)}})
            qmp = self.directory / "qmp"
            command = f"{sys.executable} {harness.REPO}/tests/qmp.py {qmp} device_add '{arguments}'"
            self.boot(first, GUEST + """
disk_works
host plug
wait-for /dev/vdb 60
dd if=/tmp/data of=/dev/vdb bs=64k oflag=direct 2>/dev/null
dd if=/dev/vdb bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/data
dmesg | grep airlock
no_complaints
""", "--append", "pci=hpmmioprefsize=256M", "--qmp", qmp,
                      "--on", f"plug={command}", "--qemu-arg=-device",
                      "--qemu-arg=pcie-root-port,id=port0,chassis=1,slot=1",
                      kernel=KERNELS[0], timeout=BOOT_SECONDS)
            self.assertEqual((first.stop(), second.stop()), (0, 0))

    # One after the other is added, works, and is removed under load.
    def test_rounds_of_adding_and_removing_under_load(self):
        for kernel in KERNELS:
            for first in range(1, ROUNDS + 1, PORTS):
                with self.subTest(kernel=kernel, first=first):
                    rounds = min(PORTS, ROUNDS + 1 - first)
                    rests = self.add_and_remove(kernel, rounds)
                    self.assertEqual(len(rests), rounds)
                    self.assertEqual(len(set(rests)), 1, rests)
                    print(f"{self.id().split('.', 1)[1]} {kernel}: {rounds} rounds, pool at rest",
                          f"{rests[0]} slots each time")

    def add_and_remove(self, kernel, rounds):
        """One boot; the slots in use at rest in each round."""
        qmp = self.directory / "qmp"
        order = self.directory / "order"
        order.write_text(json.dumps({
            "driver": "vfio-user-pci", "id": "hotNUMBER", "bus": "portNUMBER",
            "socket": {"type": "unix", "path": str(self.directory / "diskNUMBER.sock")}}))
        plug = (f'plug={sys.executable} {harness.REPO}/tests/qmp.py {qmp} device_add '
                f'"$(sed "s/NUMBER/$LAB_ARGUMENTS/g" {order})"')
        ports = [f"--qemu-arg={word}" for number in range(1, rounds + 1) for word in
                 ("-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}")]
        with contextlib.ExitStack() as stack:
            disks = [stack.enter_context(harness.Device(
                "blk", "--backend", "memory:48M", "--region", "8M", directory=self.directory,
                name=f"disk{number}", guard="bounce")) for number in range(1, rounds + 1)]
            console = self.boot(None, GUEST + f"""
modprobe virtio_blk
for round in $(seq {rounds}); do
  host plug $round
  wait-for /dev/vda 60
  device=$(basename $(readlink -f /sys/block/vda/device/..))
  pool=${{pool%/*}}/$device
  disk_works
  fill
  load_is_whole
  echo "@@REST $(used_at_rest)@@"
  start_load
  echo 1 >/sys/bus/pci/devices/$device/remove
  load_ended
  pool_is_gone
done
no_complaints
""", "--append", "pci=hpmmioprefsize=16M", "--qmp", qmp, "--on", plug, *ports, "--with", "fio",
                                kernel=kernel, timeout=BOOT_SECONDS + rounds * ROUND_SECONDS)
            for disk in disks:
                self.assertEqual(disk.stop(), 0)
                self.assertEqual(disk.stats()["violations"], 0)
        return harness.said(console, "REST")


class Kexec(LifecycleTest):
    """The next kernel starts without a reset of the machine, and so of its devices."""

    KEXECS = 3

    # HD-18, HD-25: the kernel that leaves has reset the device, under load, and taken its bus
    # mastering away. The next one finds a disk on which every block of the load is whole. It gets
    # the files of the first, which are those below all that is mounted.
    def test_the_next_kernel_finds_the_disk_whole(self):
        for kernel in KERNELS:
            with self.subTest(kernel=kernel), self.device() as device:
                image = harness.REPO / f"build/lab/kernels/{kernel}/vmlinuz"
                console = self.boot(device, GUEST + f"""
disk_works
if [ $LAB_BOOT = 1 ]; then fill; fi
load_is_whole
no_complaints
echo "@@REST $(used_at_rest)@@"
test $LAB_BOOT -le {self.KEXECS} || exit 0
mount --bind / /mnt
(cd /mnt && find . | cpio -o -H newc) >/run/initrd
umount /mnt
kexec --kexec-file-syscall --load /lab/vmlinuz --initrd=/run/initrd --reuse-cmdline
start_load
kexec --exec
exit 1
""", "--reboots", str(self.KEXECS), "--with", "fio", "--with", "kexec", "--memory", "1G",
                                    "--file", f"{image}:/lab/vmlinuz", kernel=kernel,
                                    timeout=BOOT_SECONDS)
                self.assertEqual(device.stop(), 0)
                self.assertEqual(device.stats()["violations"], 0)
                rests = harness.said(console, "REST")
                self.assertEqual(len(rests), self.KEXECS + 1)
                self.assertEqual(len(set(rests)), 1, rests)


if __name__ == "__main__":
    unittest.main(verbosity=2)
