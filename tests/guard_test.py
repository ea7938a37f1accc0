# SPDX-License-Identifier: Apache-2.0
"""`airlock guard` as a person or a service manager meets it. No VM: our own driver connects."""

import os
import pathlib
import signal
import subprocess
import threading
import time
import unittest

import device_ops
import harness
from process_case import ProcessTest

SERVE = "{airlock} serve blk --socket {{socket}} --backend file:{image} --region 16M"
KILLS = 20
TOTAL = "256M" if os.environ.get("AIRLOCK_SANITIZE") else "1G"
REAP_SECONDS = 20


class GuardTest(ProcessTest):
    def setUp(self):
        super().setUp()
        self.audit = self.directory / "audit"
        self.command = SERVE.format(airlock=harness.AIRLOCK, image=self.image)

    def guard(self, *arguments):
        return harness.Guard(self.socket, self.audit, *arguments)

    def device_pid(self):
        return device_ops.pid_of(f"{self.socket}.device")


class BadInput(GuardTest):
    def guard_refused(self, *arguments, **expected):
        self.refused("guard", "--listen", self.socket, *arguments, **expected)

    def test_neither_or_both_devices(self):
        self.guard_refused(status=2, says="--connect")
        self.guard_refused("--connect", "/x", "--exec", "x {socket}", status=2, says="one of")

    def test_a_command_without_a_place_for_the_socket(self):
        self.guard_refused("--exec", "airlock serve blk", status=2, says="{socket}")

    def test_a_policy_that_there_is_not(self):
        for policy in ("closed", "window=1M", "window=0+0"):
            self.guard_refused("--connect", "/x", "--policy", policy, status=2, says="--policy")

    def test_a_place_that_is_taken(self):
        with self.device() as device:
            self.refused("guard", "--listen", device.socket, "--connect", "/x",
                         says="another server")

    def test_an_audit_that_cannot_be_written(self):
        self.guard_refused("--connect", "/x", "--audit", "/nonexistent/audit", says="No such file")


class Words(GuardTest):
    def test_what_a_policy_gives_is_explained(self):
        closed = harness.airlock("guard", "--explain").stdout
        self.assertRegex(closed, "guard.s own|by DMA_READ +nothing")
        self.assertNotRegex(closed, "guest memory.*READABLE")
        opened = harness.airlock("guard", "--explain", "--policy", "open").stdout
        self.assertRegex(opened, "by DMA_READ +READABLE")

    @unittest.skipIf(os.environ.get("AIRLOCK_SANITIZE"), "sanitizers go without parts of it")
    def test_the_sandbox_holds(self):
        lines = harness.airlock("guard", "--self-test").stdout.splitlines()
        self.assertGreater(sum(line.startswith("ok ") for line in lines), 10, lines)
        self.assertFalse([line for line in lines if line.startswith("FAILED")])


class Lifecycle(GuardTest):
    def test_nothing_is_left_after_sigterm(self):
        before = sorted(os.listdir(self.directory))
        with self.guard("--exec", self.command) as guard:
            info = harness.airlock("blk", "info", "--device", f"vfio-user:{self.socket}")
            self.assertIn("capacity           8388608", info.stdout)
            self.assertEqual(guard.stop(), 0)
        self.assertIsNone(self.device_pid())
        self.assertEqual(sorted(os.listdir(self.directory)), sorted([*before, "audit"]))

    # Each client has a device of its own, with nothing of the last one's in it.
    def test_one_client_after_another(self):
        with self.guard("--exec", self.command):
            for _ in range(3):
                harness.airlock("blk", "verify", "--device", f"vfio-user:{self.socket}", "--total",
                                "1M")

    def test_a_device_that_does_not_start_is_one_line_and_the_guard_lives(self):
        with self.guard("--exec", "false {socket}") as guard:
            done = harness.airlock("blk", "info", "--device", f"vfio-user:{self.socket}",
                                   check=False)
            self.assertEqual(done.returncode, 1)
            guard.wait_for_line("the device is of no use")
            self.assertIsNone(guard.process.poll())

    def test_a_device_of_somebody_elses(self):
        with self.device() as device:
            listen = self.directory / "guard.sock"
            with harness.Guard(listen, self.audit, "--connect", device.socket):
                harness.airlock("blk", "verify", "--device", f"vfio-user:{listen}", "--total", "4M")

    # The process that reads what the peers send is killed: the launcher follows, and the device.
    def test_a_guard_that_is_killed_takes_its_device_along(self):
        with self.guard("--exec", self.command) as guard:
            client = subprocess.Popen(
                [harness.AIRLOCK, "blk", "bench", "--device", f"vfio-user:{self.socket}",
                 "--runtime", "30s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                while not (pid := self.device_pid()):
                    threading.Event().wait(0.01)
                children = pathlib.Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text()
                inner = [int(child) for child in children.split() if int(child) != pid]
                os.kill(inner[0], signal.SIGKILL)
                self.assertEqual(guard.process.wait(20), 1)
                self.assertIsNone(self.device_pid())
                guard.wait_for_line("ended by signal 9")
            finally:
                client.kill()
                client.wait()


class Kills(GuardTest):
    # kill -9, again and again, under a load that is verified: nothing is lost, nothing done twice.
    def test_a_killed_device_goes_on(self):
        for packed in ("on", "off"):
            with self.subTest(packed=packed):
                self.audit.unlink(missing_ok=True)
                with open(self.image, "wb") as file:
                    file.truncate(8 << 20)
                with self.guard("--restart-limit", "1000", "--exec",
                                f"{self.command} --features packed={packed}") as guard:
                    client = subprocess.Popen(
                        [harness.AIRLOCK, "blk", "verify", "--device", f"vfio-user:{self.socket}",
                         "--total", TOTAL, "--bs-max", "64K"], stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, text=True)
                    # A driver that is still setting it up may give up: docs/GUARD.md.
                    while not os.stat(self.image).st_blocks and client.poll() is None:
                        threading.Event().wait(0.01)
                    killed = 0
                    while killed < KILLS and device_ops.kill_once(
                            f"{self.socket}.device", self.audit, killed + 1,
                            lambda: client.poll() is None):
                        killed += 1
                    output = client.communicate()[0]
                    self.assertEqual(client.returncode, 0, output + "\n".join(guard.log()))
                    self.assertGreater(killed, 2)
                    # The last one is waited for when the client's end is noticed.
                    deadline = time.monotonic() + REAP_SECONDS
                    while zombies_of(guard.pid) and time.monotonic() < deadline:
                        threading.Event().wait(0.01)
                    self.assertEqual(zombies_of(guard.pid), [])


def zombies_of(parent):
    """Dead children that nobody has waited for."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    unittest.main()
