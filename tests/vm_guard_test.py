# SPDX-License-Identifier: Apache-2.0
"""A guest at work on a disk behind a guard, while the disk's process is killed and stopped.

AIRLOCK_KILLS: how often it is killed, 5 by default."""

import json
import os
import sys
import unittest

import harness
from vm_case import VmTest

KILLS = int(os.environ.get("AIRLOCK_KILLS", "5"))
KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.1")
STOP_SECONDS = 10

# Whole rounds of writing and reading back, until there is a file `over`: an error ends them.
WORK = """
wait-for /dev/vda
work() {
  while [ ! -e /tmp/over ]; do
    fio --name=verify --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 \\
        --rw=randwrite --bsrange=4k-64k --size=24M --verify=crc32c --verify_fatal=1 \\
        --randrepeat=0 >/tmp/fio 2>&1 \\
      || { cat /tmp/fio; return 1; }
    rounds=$((rounds + 1))
    echo "$rounds" >/tmp/rounds
  done
}
work & worker=$!
"""
END = """
touch /tmp/over
wait $worker
echo "@@ROUNDS $(cat /tmp/rounds)@@"
dmesg | grep -E 'I/O error|WARNING|BUG:' && exit 1
true
"""


class GuardedVm(VmTest):
    def setUp(self):
        super().setUp()
        self.socket = self.directory / "vm.sock"
        self.audit = self.directory / "audit"
        self.said = self.directory / "said"

    def guard(self, *serve):
        """A guard that starts the disk itself."""
        words = [str(harness.AIRLOCK), "serve", "blk", "--socket", "{socket}", "--backend",
                 f"file:{self.image}", "--region", "16M", *serve]
        return harness.Guard(self.socket, self.audit, "--restart-limit", 1000, "--exec",
                             " ".join(words))

    def operation(self, name, *arguments):
        words = [sys.executable, harness.REPO / "tests/device_ops.py", name,
                 f"{self.socket}.device", *arguments]
        return f"{name}={' '.join(map(str, words))} >{self.said}"

    def boot_guarded(self, name, *arguments, serve=()):
        with self.guard(*serve) as running:
            status, console = harness.vm(
                "--kernel", KERNEL, "--vfio-user", self.socket, "--module",
                f"{harness.guest_module(KERNEL)},packed=1", "--with", "fio", *arguments,
                script=f"coldplug\n{WORK}\nhost {name}\n{END}", timeout=300 + 10 * KILLS)
            log = "\n".join(running.log())
            self.assertEqual(status, 0, console[-4000:] + log)
            self.assertEqual(running.stop(), 0, log)
            return console, running


class Kills(GuardedVm):
    """kill -9 of the device, again and again: the guest sees a pause and no error."""

    def check(self, packed):
        console, guard = self.boot_guarded(
            "kill", "--on", self.operation("kill", self.audit, KILLS),
            serve=("--features", f"packed={packed}"))
        self.assertEqual(self.said.read_text(), f"killed {KILLS} times\n")
        counters = guard.counters()["device"]
        self.assertEqual(counters["forwarded"], KILLS)
        self.assertEqual(counters["failed"], KILLS)
        rounds = int(harness.said(console, "ROUNDS")[0])
        print(f"{self.id().split('.', 1)[1]} {KERNEL}: {KILLS} kills, {rounds} rounds of fio "
              "--verify without an error")

    def test_split_rings(self):
        self.check("off")

    def test_packed_rings(self):
        self.check("on")


class Stops(GuardedVm):
    """SIGSTOP of the device: QEMU goes on answering, and the guest goes on after SIGCONT."""

    def test_qemu_answers_while_the_device_is_stopped(self):
        qmp = self.directory / "qmp"
        self.boot_guarded("stop", "--qmp", qmp, "--on",
                          self.operation("stop", qmp, STOP_SECONDS))
        worst = json.loads(self.said.read_text())["worst_ms"]
        print(f"the device stopped for {STOP_SECONDS} s: QMP answered within {worst} ms")
        # QEMU alone would wait 5 s for each register. How busy this machine is, is not the point.
        self.assertLess(worst, 2000)


if __name__ == "__main__":
    unittest.main()
