# SPDX-License-Identifier: Apache-2.0
"""`airlock serve vsock` without a VM: its sockets, its end, its words."""

import pathlib
import tempfile
import unittest

import harness


class Vsock(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-vsock-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.uds = self.directory / "host"

    def device(self, *arguments):
        return harness.Device("vsock", "--uds", self.uds, *arguments, directory=self.directory,
                              name="vsock")

    def test_sockets_go_with_the_device(self):
        with self.device() as device:
            self.assertTrue(self.uds.is_socket())
            self.assertTrue(self.uds.with_name("host_seqpacket").is_socket())
            names = {harness.name_of(pid) for pid in harness.family(device.pid)}
            self.assertEqual(names, {"airlock", "socket-keeper", "socket-connect"})
            self.assertEqual(device.stop(), 0)
        self.assertEqual(sorted(path.name for path in self.directory.glob("host*")), [])

    def test_words_for_what_can_not_be(self):
        for arguments, what in ((("--uds", "x" * 97), "no port fits"),
                                (("--uds", self.uds, "--cid", "2"), "--cid"),
                                (("--uds", self.uds, "--queue-size", "100"), "power of two"),
                                (("--uds", self.uds, "--region", "64K"), "give --region 2M")):
            with self.subTest(arguments):
                done = harness.airlock("serve", "vsock", "--socket", self.directory / "v.sock",
                                       *arguments, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(what, done.stderr)

    def test_help_has_a_whole_command_line(self):
        done = harness.airlock("serve", "vsock", "--help")
        self.assertIn("qemu-system-x86_64", done.stdout)
        self.assertIn("CONNECT 5000", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
