# SPDX-License-Identifier: Apache-2.0
"""What tests of examples share: a folder, devices, and the program under test."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import harness


class ExampleTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-example-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def serve(self, *arguments, name="device"):
        """A device that runs until the test is over: serve("rng"). Its socket is `.socket`."""
        return self.enterContext(harness.Device(*arguments, directory=self.directory, name=name))

    def run_example(self, *arguments, status=0):
        """Runs the example to its end; what it printed."""
        done = subprocess.run([os.environ["EXAMPLE"], *map(str, arguments)], capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=100)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done.stdout
