# SPDX-License-Identifier: Apache-2.0
"""What a device says to files that whoever starts it passes on wrongly: docs/RESTART.md."""

import fcntl
import os
import subprocess
import unittest

import harness
from process_case import ONE_LINE, ProcessTest

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class PassedOn(ProcessTest):
    def memfd(self, size, seals=SEALS):
        fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.addCleanup(os.close, fd)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return fd

    def start_refused(self, says, *fds, names, backend=None, count=None):
        """A device with `fds` from 3 on ends with one line that says so."""
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in fds]
        for fd in high:
            self.addCleanup(os.close, fd)
        moves = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(high))
        script = f'LISTEN_PID=$$ exec "$@" {moves}'
        done = subprocess.run(
            ["bash", "-c", script, "sh", harness.AIRLOCK, "--quiet", "serve", "blk", "--socket",
             self.socket, "--region", "1M", "--queue-size", "16", "--backend",
             backend or f"file:{self.image}"],
            env={**os.environ, "LISTEN_FDS": str(len(fds) if count is None else count),
                 "LISTEN_FDNAMES": names},
            pass_fds=high, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, ONE_LINE)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(says, done.stderr)

    def test_state_of_another_size_or_not_sealed(self):
        self.start_refused("airlock-state: the size is 4096", self.memfd(4096),
                           names="airlock-state")
        self.start_refused("airlock-state: the memory is not", self.memfd(65536, 0),
                           names="airlock-state")

    def test_region_of_another_size_without_state_or_twice(self):
        state, region = self.memfd(65536), self.memfd(1 << 20)
        self.start_refused("airlock-region: it has 2M, and --region says 1M", state,
                           self.memfd(2 << 20), names="airlock-state:airlock-region")
        self.start_refused("airlock-region: there is no airlock-state", region,
                           names="airlock-region")
        self.start_refused("passed on twice", state, state, names="airlock-state:airlock-state")

    def test_descriptors_that_are_not_there_or_have_no_names(self):
        self.start_refused("does not name 2 descriptors", self.memfd(65536), count=2,
                           names="airlock-state")

    def test_memory_does_not_outlive_its_process(self):
        self.start_refused("is gone with the process", self.memfd(65536), self.memfd(1 << 20),
                           names="airlock-state:airlock-region", backend="memory:1M")


if __name__ == "__main__":
    unittest.main(verbosity=2)
