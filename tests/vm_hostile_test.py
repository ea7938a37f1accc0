# SPDX-License-Identifier: Apache-2.0
"""A device that lies, behind a real QEMU, to the kernel module and the stock driver above it.

Goal: every lie ends in an I/O error or a dead queue, and never in an oops, a lockup or harm to the
disk beside it. Method: a disk of tests (hostile_blk) tells one lie after the other to a guest that
unbinds and binds it in between; an honest disk beside it has to work all the time. A guest that a
lie brings down is booted again for the lies that are left.

Needs the lab (lab/setup), the binary that AIRLOCK names, and hostile_blk (AIRLOCK_HOSTILE_BLK)."""

import contextlib
import os
import pathlib
import re
import subprocess
import unittest

import harness
from vm_case import VmTest

HOSTILE_BLK = pathlib.Path(os.environ.get(
    "AIRLOCK_HOSTILE_BLK", harness.REPO / "build/debug/bin/tests/hostile_blk"))
KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.1")
BOOT_SECONDS = 60
LIE_SECONDS = 60  # at most; most take two
# On a busy machine the guest gets the speed of its TSC wrong, and then all its watchdogs bark. What
# is freed twice or written beyond its end has to show.
BOOT_WORDS = "tsc=unstable slub_debug=FZP"

# What a lie comes to, for four readers and writers of the disk that lies.
WORKS = "works"  # all end well
FAILS = "fails"  # all end, some with an error
DEAD = "dead"  # some never end, and the device is lost until the machine starts again
NONE = "none"  # there is no disk

HARMLESS = {WORKS}
REFUSED = {NONE}
ERRORS = {FAILS}
# The queue is broken: what was in flight in it ends with an error, and the device is restarted.
BREAKS = {FAILS}
# It depends on what the driver reads before the lie and what after it.
ANY_END = {WORKS, FAILS}

# The sign of a kernel that is not well, in its log.
ILL = re.compile(r"BUG|Oops|WARNING|Call Trace|lockup|rcu.*stall|blocked for more than|hung|"
                 r"general protection|unable to handle|list_(add|del) corruption|refcount_t|UBSAN")

RUNNING = {
    # HD-1
    "IdIsTheQueueSize": BREAKS,
    "IdIsFfff": BREAKS,
    # HD-2
    "IdIsRepeated": BREAKS,
    "IdIsNotPublished": BREAKS,
    # HD-3
    "LengthIsFfffffff": BREAKS,
    "LengthIsZero": ANY_END,
    "LengthIsOneTooMuch": BREAKS,
    # HD-11
    "AnswerIsRewritten": ANY_END,
    # HD-4
    "UsedWithoutAnAnswer": ANY_END,
    "AllUsedWithoutAnAnswer": ANY_END,
    "UsedBeyondTheQueueSize": BREAKS,
    "UsedGoesBack": ANY_END,
    # HD-6, HD-7
    "TableFlipsNext": HARMLESS,
    "TableFlipsWrite": HARMLESS,
    "TableFlipsIndirect": HARMLESS,
    "TableLeadsElsewhere": HARMLESS,
    "TableLoops": HARMLESS,
    "DriverAreaIsRewritten": HARMLESS,
    # HD-8
    "IndirectTableLeadsElsewhere": HARMLESS,
    # HD-21
    "EventsAreGarbage": HARMLESS,
    # HD-32
    "AnswersInReverse": ANY_END,
    # HD-20
    "InterruptStorm": HARMLESS,
    # HD-24
    "StatusIsGarbage": ANY_END,
    "StatusIsNeedsReset": ANY_END,
    "StatusIsGone": ANY_END,
    "RegistersAreGone": ANY_END,
    # HD-12
    "ConfigIsGarbage": ANY_END,
    "GenerationChangesForEver": ANY_END,
    # HD-10, HD-11
    "RequestsScribbled": HARMLESS,
    "FreeMemoryScribbled": ANY_END,
    # HD-26
    "SuccessWithoutData": HARMLESS,
}
# Where a packed ring comes to something else.
PACKED = {
    # HD-3: virtio_ring believes any length, and virtio_blk does not look at it.
    "LengthIsFfffffff": HARMLESS,
    "LengthIsOneTooMuch": HARMLESS,
    # HD-4: there is no index that could jump.
    "UsedBeyondTheQueueSize": ANY_END,
}
LASTING = {
    # HD-19, HD-23
    "Silence": {DEAD},
    "NoInterrupts": {DEAD},
    # HD-20
    "InterruptsForEver": HARMLESS,
    # HD-5, HD-11
    "RingFlipsForEver": {FAILS, DEAD},
    "RegionFlipsForEver": {WORKS, FAILS, DEAD},
}
OPENING = {
    # HD-12
    "ConfigChangesAfterALook": HARMLESS,
    "GenerationChangesForEver": HARMLESS,
    "ConfigIsGarbage": REFUSED,
    # HD-13
    "PhysicalBlockExpIs64": HARMLESS,
    # HD-16
    "OfferChanges": HARMLESS,
    "OfferIsEverything": REFUSED,
    # HD-17
    "InterruptsBeforeDriverOk": HARMLESS,
    # HD-19, HD-24
    "NeverResets": REFUSED,
    "StatusIsGarbage": REFUSED,
    "RegistersAreGone": REFUSED,
    # HD-15: behind QEMU the list's links are QEMU's own.
    "CapabilitiesLoop": HARMLESS,
    "CapabilitiesFlicker": REFUSED,
    "CapabilitiesAreShort": REFUSED,
    # HD-15, HD-28
    "RegionExceedsItsBar": REFUSED,
    "RegionWraps": REFUSED,
    "RegionIsEmpty": REFUSED,
    "RegionIsTooSmall": REFUSED,
    "RegionIsUnaligned": REFUSED,
    "RegionIsInTheRegisters": REFUSED,
    "RegionIsInNoBar": REFUSED,
    "CommonConfigIsTooShort": REFUSED,
    # What is missing reads as zeros: 7.2 takes that for a disk.
    "DeviceConfigIsTooShort": {NONE, FAILS},
    "NotifyIsTooShort": REFUSED,
    # HD-14
    "NotifyOffsetIsFfff": REFUSED,
    "NumQueuesIsZero": REFUSED,
    "NumQueuesIsFfff": HARMLESS,
    "QueueSizeIsZero": REFUSED,
    "QueueSizeIsFfff": REFUSED,
    # A packed ring may have it.
    "QueueSizeIsNoPowerOfTwo": HARMLESS,
}
# Told before the driver is unbound, and until it is bound again.
RESET = {
    # HD-18
    "InterruptsAfterReset": HARMLESS,
    # HD-19, HD-24
    "NeverResets": REFUSED,
    "StatusIsGarbage": REFUSED,
    # HD-15
    "CapabilitiesLoop": HARMLESS,
    # HD-25: bound anew, this is another device, which may have another region.
    "RegionShrinks": REFUSED,
    "RegionMoves": REFUSED,
    # HD-16
    "OfferIsAnother": HARMLESS,
    # HD-12: some of what is asked for lies behind the end that it has now.
    "ConfigIsAnother": ERRORS,
    "GenerationChangesForEver": HARMLESS,
}
ENDS = {"opening": OPENING, "running": RUNNING, "reset": RESET, "lasting": LASTING}

# The guest's part. A lie says what it came to in one line: @@DID kind name, then word=value.
SCRIPT = """
bus=/sys/bus/pci/drivers/virtio_pci_airlock
# The disks that lie come first, and then the honest one.
use() {
  number=$1
  slot=0000:00:1$(printf %x $1).0
  liar=/sys/bus/pci/devices/$slot
  pool=/sys/kernel/debug/virtio_pci_airlock/$slot
}
use $liars
honest=$(basename $liar/virtio*/block/*)
use 0

# In the background; its status is in /tmp/NAME once it has ended.
start() {
  name=$1
  shift
  rm -f /tmp/$name
  { "$@" >/dev/null 2>&1; echo $? >/tmp/$name.new; mv /tmp/$name.new /tmp/$name; } &
}
# Waits for the end of one, at most that many seconds. What is stuck stays so: the boot is lost.
ended() { wait-for /tmp/$1 $2 2>/dev/null; }
stuck() {
  echo "@@STUCK $1@@"
  echo w >/proc/sysrq-trigger
  dmesg | grep -A12 'task:.* state:D' | head -n 60
  echo b >/proc/sysrq-trigger
}
write_to() { echo $slot >$bus/$1; }
ask() { host ask $number "$@" >/dev/null; }
unbind() {
  test -e $liar/driver || return 0
  start unbind write_to unbind
  ended unbind 20 || stuck unbind
}
bind() {
  start bind write_to bind
  ended bind 30 || stuck bind
}
disk() { ls $liar/virtio*/block 2>/dev/null; }
# Two readers and two writers at once; what they come to.
work() {
  for i in 0 1 2 3; do
    if test $i -lt 2; then
      start job$number$i dd if=/dev/$1 of=/dev/null bs=4k count=16 skip=$((i * 100)) iflag=direct
    else
      start job$number$i dd if=/dev/zero of=/dev/$1 bs=4k count=16 seek=$((i * 100)) oflag=direct
    fi
  done
  worked=works seconds=${2:-10}
  for i in 0 1 2 3; do
    if ! ended job$number$i $seconds; then
      worked=silent
      seconds=1
    elif test $(cat /tmp/job$number$i) != 0 -a $worked = works; then
      worked=fails
    fi
  done
}
# What a silent device left open has to end with an error when the driver is gone.
all_ended() {
  test $worked = silent || return 0
  for i in 0 1 2 3; do
    ended job$number$i 10 || stuck job$i
  done
}
# Honest again, the disk is back, and works.
revive() {
  ask honest
  unbind
  bind
  revived=no
  name=$(disk) || return 0
  wait-for /dev/$name
  keep=$worked
  work $name
  test $worked = works && revived=yes
  worked=$keep
}
pool_says() { cat $pool/$1 2>/dev/null || echo -1; }
conclude() {
  beside=no
  start beside cmp -n 1048576 /dev/$honest /tmp/honest
  echo 3 >/proc/sys/vm/drop_caches
  ended beside 10 && test $(cat /tmp/beside) = 0 && beside=yes
  dmesg -c | sed 's/^/| /'
  used=$(pool_says io_tlb_used)
  echo "@@DID $1 $2 came_to=$worked again=$again told=$told refused=$refused revived=$revived \
used=$used beside=$beside@@"
}

lie_running() {
  ask $1 $2
  work $(disk)
  told=no
  ask told && told=yes
  # Restarted or given up: nobody waits longer than a reset may take.
  if test $1 = running -a $worked = fails; then
    work $(disk) 40
    again=$worked worked=fails
  fi
  refused=$(pool_says refused)
  # Nobody ends its requests, and to unbind it would mean to wait for them.
  if test $worked = silent -a $abandon = yes; then
    worked=dead
    return 0
  fi
  unbind
  all_ended
  revive
}
lie_lasting() { lie_running $1 $2; }
lie_opening() {
  unbind
  lie_to_driver $1 $2
}
lie_to_driver() {
  ask $1 $2
  unbind
  bind
  told=yes worked=none
  name=$(disk) && work $name
  refused=$(pool_says refused)
  unbind
  all_ended
  revive
}
lie_reset() { lie_to_driver $1 $2; }

tell() {
  echo "@@TRY $1 $2@@"
  refused=-1 worked=none again=none told=no revived=no
  lie_$1 $1 $2
  conclude $1 $2
  if test $worked = dead; then
    ask honest
    use $((number + 1))
  fi
}

dd if=/dev/$honest of=/tmp/honest bs=1M count=1 2>/dev/null
cd /proc/sys/kernel
# Not as tight as they could be: a guest on a busy machine may itself stand still for some seconds.
for setting in panic_on_warn=1 panic_on_oops=1 softlockup_panic=1 watchdog_thresh=15 \\
    panic_on_rcu_stall=1 hung_task_timeout_secs=$(test $abandon = yes && echo 0 || echo 30); do
  echo ${setting#*=} >${setting%=*}
done
cd /root
echo 30 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
set +e
wait-for $liar/virtio0/block
refused=0 worked=none
revive
echo "@@FRESH revived=$revived used=$(pool_says io_tlb_used)@@"
dmesg -c >/dev/null
"""


class Lie:
    """What one lie came to, by the guest's own words."""

    def __init__(self, text):
        kind, name, *rest = text.split()
        self.name = f"{kind} {name}"
        self.values = dict(word.split("=") for word in rest)


def control_of(directory, number):
    return directory / f"hostile.{number}.control"


class HostileDevice:
    """One hostile_blk process. Use as a context manager."""

    def __init__(self, directory, number, *arguments):
        self.socket = directory / f"hostile.{number}.sock"
        self.control = control_of(directory, number)
        self.log = directory / f"hostile.{number}.log"
        self.arguments = arguments

    def __enter__(self):
        for path in (self.socket, self.control):
            path.unlink(missing_ok=True)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [HOSTILE_BLK, "--socket", self.socket, "--control", self.control,
                 *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class HostileTest(VmTest):
    """What the tests of both ring formats share."""

    def orders(self):
        """The --on argument by which the guest has a device told what to do: `host ask N ORDER`."""
        control = control_of(self.directory, "${LAB_ARGUMENTS%% *}")
        return f'ask={HOSTILE_BLK} --control "{control}" --ask "${{LAB_ARGUMENTS#* }}"'

    def boot_for(self, lies, arguments, spares):
        """Boots once and tells the lies until one brings the guest down; the console."""
        settings = f"liars={spares + 1} abandon={'yes' if spares else 'no'}\n"
        script = settings + SCRIPT + "".join(f"tell {lie}\n" for lie in lies)
        with contextlib.ExitStack() as stack:
            hostile = [stack.enter_context(HostileDevice(self.directory, number, *arguments))
                       for number in range(spares + 1)]
            honest = stack.enter_context(self.device())
            sockets = [word for device in (*hostile, honest)
                       for word in ("--vfio-user", device.socket)]
            _, console = harness.vm(
                "--kernel", KERNEL, "--append", BOOT_WORDS, *sockets,
                "--module", f"{harness.guest_module(KERNEL)},packed=1", "--on", self.orders(),
                script="coldplug\n" + script,
                timeout=BOOT_SECONDS + LIE_SECONDS * len(lies))
            return console + "".join(device.log.read_text() for device in hostile)

    def tell(self, lies, *arguments, spares=0):
        """Tells each lie and checks what it came to; with devices to spare for those that die."""
        left = list(lies)
        while left:
            console = self.boot_for(left, arguments, spares)
            fresh = harness.said(console, "FRESH")
            self.assertEqual(len(fresh), 1, console[-6000:])
            self.assertIn("revived=yes", fresh[0])
            used = dict(word.split("=") for word in fresh[0].split())["used"]
            tried = harness.said(console, "TRY")
            self.assertGreater(len(tried), 0, console[-6000:])
            did = {lie.name: lie for lie in map(Lie, harness.said(console, "DID"))}
            for name in tried:
                with self.subTest(name, arguments=arguments):
                    end = console.split(f"@@TRY {name}@@")[1].split("@@TRY")[0]
                    self.assertIn(name, did, end[-6000:])
                    values = did[name].values
                    print(f"{KERNEL} {name}{''.join(f' {word}' for word in arguments)}:",
                          values["came_to"], "then", values["again"], flush=True)
                    # At once: a long run may be stopped before its failures are printed.
                    if (values["told"], values["beside"], values["revived"]) != ("yes",) * 3:
                        print("  told, beside, revived:", values["told"], values["beside"],
                              values["revived"], flush=True)
                    self.check(did[name], "--packed" in arguments, used, end)
            left = left[len(tried):]

    def check(self, lie, packed, used, console):
        kind, name = lie.name.split()
        ends = PACKED.get(name) if packed and kind == "running" else None
        self.assertIn(lie.values["came_to"], ends or ENDS[kind][name], console)
        self.assertIn(lie.values["again"], ("none", WORKS, FAILS), console)
        self.assertEqual(lie.values["told"], "yes", console)
        # Nobody asked the pool for anything that made no sense; the disk beside it never noticed.
        self.assertIn(lie.values["refused"], ("0", "-1"), console)
        self.assertEqual(lie.values["beside"], "yes", console)
        # The disk that lied is good for another start, with nothing of its pool lost.
        if lie.values["came_to"] != DEAD:
            self.assertEqual(lie.values["revived"], "yes", console)
            self.assertEqual(lie.values["used"], used, console)
        self.assertIsNone(ILL.search("\n".join(
            line for line in console.splitlines() if not line.startswith("@@"))), console)


def running(harmless):
    """The lies to a driver at work that must not make any difference to it, or all others."""
    return [f"{kind} {name}" for kind, ends in (("running", RUNNING), ("lasting", LASTING))
            for name, end in ends.items() if (end == HARMLESS) == harmless]


def without_tables(lies):
    return [lie for lie in lies if "IndirectTable" not in lie]


class Lies(unittest.TestCase):
    # REQUIREMENTS 4: no lie is left out.
    def test_have_an_end_each(self):
        known = harness.run(HOSTILE_BLK, "--list").split("\n")[:-1]
        ours = [f"{kind} {name}" for kind, ends in ENDS.items() for name in ends]
        self.assertEqual(sorted(known), sorted(ours))


class Harmless(HostileTest):
    """What must not make any difference to a driver at work."""

    def test_split_ring(self):
        self.tell(running(harmless=True))

    def test_split_ring_without_tables(self):
        self.tell(without_tables(running(harmless=True)), "--plain")

    def test_packed_ring(self):
        self.tell(running(harmless=True), "--packed")

    def test_packed_ring_without_tables(self):
        self.tell(without_tables(running(harmless=True)), "--packed", "--plain")


class Breaking(HostileTest):
    """What may cost the requests in flight, or the queue, and nothing else."""

    SPARES = 4  # the lies that may be the end of a device

    def test_split_ring(self):
        self.tell(running(harmless=False), spares=self.SPARES)

    def test_packed_ring(self):
        self.tell(running(harmless=False), "--packed", spares=self.SPARES)


class Setup(HostileTest):
    """Lies of registers, configuration and capabilities, when a driver starts or comes back."""

    def test_lies(self):
        self.tell([f"{kind} {name}" for kind in ("opening", "reset") for name in ENDS[kind]],
                  "--packed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
