# SPDX-License-Identifier: Apache-2.0
"""What tests of the command share: a folder, a disk image, a device, a refusal in one line."""

import os
import pathlib
import re
import tempfile
import threading
import unittest

import harness

IDLE_SECONDS = 3
ONE_LINE = re.compile(r"airlock: [^:]+.*: .+: .+\n")


class ProcessTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-process-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.socket = self.directory / "disk.sock"
        self.image = self.directory / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(8 << 20)

    def refused(self, *arguments, status=1, says="", **options):
        """The command fails with that status and one line that says so; nothing is left behind."""
        before = sorted(os.listdir(self.directory))
        done = harness.airlock(*arguments, check=False, timeout=30, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, ONE_LINE)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(sorted(os.listdir(self.directory)), before)
        return done.stderr

    def assert_asleep(self, *pids):
        """None of these processes runs, nor any that they have started: once all are at rest."""
        if harness.THREAD_SANITIZER:
            self.skipTest("TSan's own thread wakes up")
        everyone = None
        # Who was about to end while it was looked at is gone once the others have come to rest.
        while (found := sorted({one for pid in pids for one in harness.family(pid)})) != everyone:
            everyone = found
            for pid in everyone:
                harness.settle(pid)
        before = {pid: harness.switches(pid) for pid in everyone}
        self.assertTrue(all(before.values()), "a process without a switch: nothing is counted")
        threading.Event().wait(IDLE_SECONDS)  # the observation window, not a delay for something
        after = {pid: harness.switches(pid) for pid in everyone}
        self.assertEqual(after, before, [harness.name_of(pid) for pid in everyone])

    def serve_refused(self, *arguments, **expected):
        return self.refused("serve", "blk", "--socket", self.socket, *arguments, **expected)

    def device(self, *arguments, backend=None):
        return harness.Device("blk", "--backend", backend or f"file:{self.image}", *arguments,
                              directory=self.directory)
