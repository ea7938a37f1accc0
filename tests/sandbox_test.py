#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sandbox of a device process, from outside: what is in force while it serves, and that it
serves. What it prevents is tried from inside, by src/sandbox/self_test_test.cc."""

import os
import pathlib
import signal
import subprocess
import threading
import time
import unittest

import harness
from process_case import ProcessTest

NOBODY = 65534
# Sanitizers and coverage need files and threads that are traced: less is in force there.
INSTRUMENTED = os.environ.get("AIRLOCK_SANITIZE", "") not in ("", "undefined")


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_until(condition, what, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        threading.Event().wait(0.01)


class Serve(ProcessTest):
    def verify(self, device, *arguments):
        harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}", "--total", "4M",
                        *arguments)

    def test_all_is_in_force_before_it_serves(self):
        with self.device() as device:
            status = status_of(device.pid)
            self.assertEqual(status["NoNewPrivs"], "1")
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)
            line = device.wait_for_line("sandbox: ")
            if not INSTRUMENTED and " not available: " not in line:
                self.assertEqual(status["Seccomp"], "2")
            if not INSTRUMENTED and " not available: " not in line and os.geteuid() == 0:
                namespaces = os.listdir(f"/proc/{device.pid}/ns")
                for name in {"user", "mnt", "net", "ipc", "uts"} & set(namespaces):
                    self.assertNotEqual(os.readlink(f"/proc/{device.pid}/ns/{name}"),
                                        os.readlink(f"/proc/self/ns/{name}"), name)
                self.assertEqual(os.listdir(f"/proc/{device.pid}/root/"), [])
            self.verify(device)
            self.assertEqual([one for one in device.log() if "refused the system call" in one], [])

    def test_off_is_a_warning_and_leaves_all_rights(self):
        with self.device("--sandbox=off") as device:
            self.assertIn("airlock: warning: sandbox: off", device.wait_for_line("sandbox: "))
            theirs, mine = status_of(device.pid), status_of(os.getpid())
            for row in ("NoNewPrivs", "CapEff", "Seccomp"):
                self.assertEqual(theirs[row], mine[row], row)
            self.assertEqual(os.readlink(f"/proc/{device.pid}/ns/user"),
                             os.readlink("/proc/self/ns/user"))
            self.verify(device)

    def test_neither_on_nor_off_is_no_answer(self):
        self.serve_refused("--backend", "memory:8M", "--sandbox=maybe", status=2, says="on|off")

    def test_every_engine_works_inside(self):
        for engine in ("auto", "threads"):
            for direct in ("off", "on"):
                with self.subTest(engine=engine, direct=direct):
                    backend = f"file:{self.image},engine={engine},direct={direct}"
                    with self.device("--queues", "2", backend=backend) as device:
                        for _ in range(3):  # a ring serves one client after the other
                            self.verify(device, "--iodepth-max", "16")
                        for line in device.log():
                            self.assertNotIn("refused the system call", line)
                            self.assertNotIn("using threads", line)

    def test_counters_are_written_on_a_signal_too(self):
        with self.device() as device:
            self.verify(device)
            device.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: device.stats_file.read_text().endswith("}\n"), "the counters")
            self.assertEqual(device.stats()["clients"], 1)
            self.verify(device)
            self.assertEqual(device.stop(), 0)
            self.assertEqual(device.stats()["clients"], 2)

    def test_counters_that_cannot_be_written_are_a_warning(self):
        process = subprocess.Popen(
            [str(harness.AIRLOCK), "serve", "blk", "--socket", str(self.socket), "--backend",
             "memory:8M", "--stats", str(self.directory / "none" / "stats")],
            stderr=subprocess.PIPE, text=True)
        try:
            wait_until(self.socket.exists, "the socket")
        finally:
            process.terminate()
        said = process.communicate(timeout=30)[1]
        self.assertEqual(process.returncode, 0, said)
        self.assertIn("can't write the counters", said)

    def test_killed_device_leaves_no_process_and_the_next_takes_its_place(self):
        with self.device() as device:
            keepers = children_of(device.pid)
            self.assertEqual(len(keepers), 1)
            device.process.kill()
            device.process.wait()
            wait_until(lambda: not any(map(self.runs, keepers)), "the end of its helper")
            self.assertTrue(device.socket.exists())
        with self.device() as device:
            self.verify(device)
            self.assertEqual(device.stop(), 0)
        self.assertFalse(device.socket.exists())

    def runs(self, pid):
        try:
            return status_of(pid)["State"][0] not in "ZX"
        except FileNotFoundError:
            return False


@unittest.skipUnless(os.geteuid() == 0, "only root can be others")
class Users(ProcessTest):
    def setUp(self):
        super().setUp()
        for path in (self.directory, self.image):
            os.chown(path, NOBODY, NOBODY)
        os.chmod(self.directory, 0o755)

    def as_nobody(self):
        return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

    def started_with(self, *prefix):
        return harness.Device("blk", "--backend", f"file:{self.image}", directory=self.directory,
                              prefix=prefix)

    def check(self, device):
        harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}", "--total", "4M")
        self.assertEqual(device.stop(), 0)
        self.assertFalse(device.socket.exists())

    def test_a_user_without_rights_has_a_sandbox_that_is_closed_to_him(self):
        if not os.access(harness.AIRLOCK.resolve(), os.X_OK) or subprocess.run(
                [*self.as_nobody(), str(harness.AIRLOCK), "--version"],
                capture_output=True).returncode != 0:
            self.skipTest("the program is where nobody finds it")
        with self.started_with(*self.as_nobody()) as device:
            status = status_of(device.pid)
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(int(status["CapEff"], 16), 0)
            look = f"open('/proc/{device.pid}/maps').read()"
            done = subprocess.run([*self.as_nobody(), "/usr/bin/env", "python3", "-c", look],
                                  capture_output=True, text=True)
            self.assertRegex(done.stderr, "PermissionError|can't open|No such file")
            self.assertNotEqual(done.returncode, 0)
            self.check(device)

    def test_where_user_namespaces_are_forbidden_it_says_so_and_serves(self):
        forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
        prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
        if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
            self.skipTest("user namespaces are forbidden here altogether")
        os.chown(self.image, 0, 0)
        os.chown(self.directory, 0, 0)
        with self.started_with(*prefix) as device:
            line = device.wait_for_line("sandbox: ")
            self.assertIn("airlock: warning: ", line)
            self.assertRegex(line, r"not available: .*user namespace \(No space left on device\)")
            self.assertEqual(int(status_of(device.pid)["CapEff"], 16), 0)
            self.check(device)


if __name__ == "__main__":
    unittest.main()
