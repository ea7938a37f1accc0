# SPDX-License-Identifier: Apache-2.0
"""The airlock command as a person or a script meets it: bad input, one client, a clean end."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import harness

TOTAL = os.environ.get("AIRLOCK_VERIFY_TOTAL", "1G")
UNITS = {"M": 20, "G": 30}
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

    def refused(self, *arguments, status=1, says=""):
        """The command fails with that status and one line that says so; nothing is left behind."""
        before = sorted(os.listdir(self.directory))
        done = harness.airlock(*arguments, check=False, timeout=30)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, ONE_LINE)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(sorted(os.listdir(self.directory)), before)
        return done.stderr

    def serve_refused(self, *arguments, **expected):
        return self.refused("serve", "blk", "--socket", self.socket, *arguments, **expected)

    def device(self, *arguments, backend=None):
        return harness.Device("blk", "--backend", backend or f"file:{self.image}", *arguments,
                              directory=self.directory)


class BadInput(ProcessTest):
    def test_missing_image(self):
        self.serve_refused("--backend", "file:/nonexistent/disk.img", says="No such file")

    def test_image_that_is_no_multiple_of_512(self):
        with open(self.image, "wb") as file:
            file.truncate(1000)
        self.serve_refused("--backend", f"file:{self.image}", says="512")

    def test_empty_image(self):
        self.image.write_bytes(b"")
        self.serve_refused("--backend", f"file:{self.image}", says="empty")

    def test_unknown_backend(self):
        self.serve_refused("--backend", "floppy:a", says="floppy")

    def test_image_that_another_server_writes(self):
        with self.device():
            self.refused("serve", "blk", "--socket", self.directory / "other.sock", "--backend",
                         f"file:{self.image}", says="disk.img")

    def test_two_readers_may_share_an_image(self):
        with self.device("--readonly"), harness.Device(
                "blk", "--backend", f"file:{self.image}", "--readonly",
                directory=self.directory, name="second"):
            pass

    def test_socket_path_too_long(self):
        long = self.directory / ("x" * 120)
        self.refused("serve", "blk", "--socket", long, "--backend", "memory:8M", says="107")

    def test_socket_in_use(self):
        with self.device() as device:
            self.refused("serve", "blk", "--socket", device.socket, "--backend", "memory:8M",
                         says="another server")

    def test_stale_socket_is_replaced(self):
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(self.directory / "blk.sock"))
        stale.close()
        with self.device() as device:
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")

    def test_file_in_the_sockets_place_is_left_alone(self):
        self.socket.write_text("precious")
        self.serve_refused("--backend", "memory:8M", says="no socket")
        self.assertEqual(self.socket.read_text(), "precious")

    def test_region_that_is_no_power_of_two(self):
        self.serve_refused("--backend", "memory:8M", "--region", "48M", status=2, says="64M")

    def test_region_too_small_for_its_queues(self):
        text = self.serve_refused("--backend", "memory:8M", "--region", "64K", says="--region")
        fits = re.search(r"give --region (\d+[KMG]) or more", text)[1]
        with self.device("--region", fits, backend="memory:8M") as device:
            harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}",
                            "--total", "8M", "--iodepth-max", "8")

    def test_unknown_options_commands_and_values(self):
        for arguments in (("--bogus",), ("serve",), ("serve", "floppy"), ("frobnicate",), (),
                          ("serve", "blk"), ("blk", "bench"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--dma", "maybe"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--region", "many"),
                          ("blk", "info", "--device", "floppy:a")):
            with self.subTest(arguments=arguments):
                self.refused(*arguments, status=2)

    def test_help_on_every_level_has_an_example(self):
        for command in ((), ("serve",), ("serve", "blk"), ("blk",), ("blk", "info"),
                        ("blk", "read"), ("blk", "write"), ("blk", "verify"), ("blk", "bench")):
            with self.subTest(command=command):
                done = harness.airlock(*command, "--help")
                self.assertIn("example:", done.stdout)
                self.assertEqual(done.stderr, "")

    def test_no_device_there(self):
        self.refused("blk", "info", "--device", f"vfio-user:{self.socket}", says="start the device")
        self.refused("blk", "info", "--device", "pci:ffff:ff:1f.7", says="lspci")

    def test_parts_that_the_disk_does_not_have(self):
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}")
            for part in (("--offset", "16M"), ("--length", "16M"), ("--offset", "100")):
                with self.subTest(part=part):
                    self.refused("blk", "read", *where, "--output", "/dev/null", *part, status=2)

    def test_input_that_is_no_whole_blocks(self):
        odd = self.directory / "odd"
        odd.write_bytes(b"x" * 100)
        with self.device() as device:
            self.refused("blk", "write", "--device", f"vfio-user:{device.socket}", "--input", odd,
                         says="512")


    def test_input_that_does_not_fit_or_is_too_short(self):
        data = self.directory / "data"
        data.write_bytes(b"x" * (9 << 20))
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}", "--input", data)
            self.refused("blk", "write", *where, says="more than fits")
            self.refused("blk", "write", *where, "--length", "16M", status=2)
            harness.airlock("blk", "write", *where, "--length", "8M")
            data.write_bytes(b"x" * 4096)
            self.refused("blk", "write", *where, "--length", "8K", says="ended after 4096")


class Clients(ProcessTest):
    def test_second_client_is_refused_and_the_first_goes_on(self):
        with self.device() as device:
            first = subprocess.Popen(
                [str(harness.AIRLOCK), "blk", "bench", "--device", f"vfio-user:{device.socket}",
                 "--runtime", "3s", "--json"], stdout=subprocess.PIPE, text=True)
            device_is_busy = False
            while first.poll() is None and not device_is_busy:
                second = harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}",
                                         check=False)
                device_is_busy = second.returncode == 1
            self.assertTrue(device_is_busy, "the second client was never refused")
            self.assertRegex(second.stderr, ONE_LINE)
            report = json.loads(first.communicate(timeout=60)[0])
            self.assertEqual(first.returncode, 0)
            self.assertGreater(report["requests"], 0)

    def test_client_that_vanishes_in_the_middle_of_a_message(self):
        with self.device() as device:
            for part in (b"\x01", struct.pack("<HHIII", 1, 1, 400, 0, 0),
                         struct.pack("<HHIII", 1, 1, 1 << 31, 0, 0)):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(device.socket))
                client.sendall(part)
                client.close()
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")

    def test_client_killed_at_work_leaves_a_device_for_the_next(self):
        with self.device() as device:
            for _ in range(3):
                client = subprocess.Popen(
                    [str(harness.AIRLOCK), "blk", "bench", "--device",
                     f"vfio-user:{device.socket}", "--rw", "randwrite", "--iodepth", "32",
                     "--runtime", "60s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                device.wait_for_cpu()
                client.kill()
                client.wait()
                device.wait_for_line("client left")
                device.lines.clear()
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")
            self.assertEqual(device.stop(), 0)

    def test_next_client_finds_an_empty_region(self):
        """What one guest left in the region no other sees."""
        with self.device(backend="memory:8M") as device:
            marker = self.directory / "marker"
            marker.write_bytes(b"left behind by A" * (1 << 16))
            harness.airlock("blk", "write", "--device", f"vfio-user:{device.socket}", "--input",
                            marker)
            device.wait_for_line("client left")
            memory = harness.audit.shared_files(device.pid)
            self.assertEqual([name for _, name in memory.values() if "airlock-region" in name], [])


class Lifecycle(ProcessTest):
    def test_sigterm_ends_it_with_0_and_removes_the_socket(self):
        with self.device() as device:
            self.assertTrue(device.socket.exists())
            self.assertEqual(device.stop(), 0)
        self.assertFalse(device.socket.exists())
        self.assertEqual(device.stats()["clients"], 0)

    def test_signals_are_caught_before_the_socket_appears(self):
        """Who waits for the socket may end the device at once: that is a drain, not a death."""
        device = harness.Device("blk", "--backend", "memory:8M", directory=self.directory)
        try:
            while not device.socket.exists():
                self.assertIsNone(device.process.poll(), device.log())
            status = pathlib.Path(f"/proc/{device.pid}/status").read_text()
            caught = int(re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE).group(1), 16)
            for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self.assertTrue(caught >> (wanted - 1) & 1, wanted)
            self.assertEqual(device.stop(), 0)
        finally:
            device.stop()

    @unittest.skipIf(os.environ.get("AIRLOCK_SANITIZE") == "thread", "TSan's own thread wakes up")
    def test_idle_device_uses_no_cpu(self):
        with self.device() as device:
            harness.airlock("blk", "bench", "--device", f"vfio-user:{device.socket}", "--runtime",
                            "200ms")
            client = socket.socket(socket.AF_UNIX)  # connected, and silent
            client.connect(str(device.socket))
            switches = device.settle()
            self.assertEqual(device.settle(), switches, "it wakes up though nothing happens")
            client.close()

    def test_inherited_socket(self):
        listening = socket.socket(socket.AF_UNIX)
        path = self.directory / "inherited.sock"
        listening.bind(str(path))
        listening.listen(1)
        process = subprocess.Popen(
            [str(harness.AIRLOCK), "serve", "blk", "--fd", str(listening.fileno()), "--backend",
             "memory:8M"], pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL)
        try:
            harness.airlock("blk", "info", "--device", f"vfio-user:{path}")
        finally:
            process.terminate()
        self.assertEqual(process.wait(30), 0)
        listening.close()


class Disks(ProcessTest):
    def test_what_is_written_is_in_the_file(self):
        data = self.directory / "data"
        data.write_bytes(os.urandom(3 << 20))
        back = self.directory / "back"
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}")
            harness.airlock("blk", "write", *where, "--input", data, "--offset", "1M")
            harness.airlock("blk", "read", *where, "--output", back, "--offset", "1M", "--length",
                            "3M")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(back.read_bytes(), data.read_bytes())
        self.assertEqual(self.image.read_bytes()[1 << 20:4 << 20], data.read_bytes())

    def test_read_only_disk_refuses_writes(self):
        with self.device("--readonly") as device:
            self.refused("blk", "verify", "--device", f"vfio-user:{device.socket}",
                         says="read-only")
            info = json.loads(harness.airlock("blk", "info", "--json", "--device",
                                              f"vfio-user:{device.socket}").stdout)
            self.assertTrue(info["read_only"])

    def test_both_address_modes_and_several_queues(self):
        for mode, name in (("bus", "SWIOTLB"), ("offset", "DMB")):
            with self.subTest(mode=mode), self.device("--address", mode, "--queues", "4") as device:
                where = ("--device", f"vfio-user:{device.socket}")
                info = json.loads(harness.airlock("blk", "info", "--json", *where).stdout)
                self.assertIn(name, info["region_by"])
                self.assertEqual(info["queues"], 4)
                bench = json.loads(harness.airlock("blk", "bench", *where, "--numjobs", "4", "--rw",
                                                   "randrw", "--runtime", "200ms", "--json").stdout)
                self.assertGreater(bench["requests"], 0)

    def test_disk_full_is_an_error_and_the_device_goes_on(self):
        small = self.directory / "small"
        small.mkdir()
        harness.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small)
        self.addCleanup(harness.run, "umount", small)
        image = small / "disk.img"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        with self.device(backend=f"file:{image}") as device:
            where = ("--device", f"vfio-user:{device.socket}")
            failed = harness.airlock("blk", "write", *where, "--input", self.image, check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertRegex(failed.stderr, ONE_LINE)
            device.wait_for_line("No space left")
            harness.airlock("blk", "read", *where, "--output", "/dev/null", "--length", "64K")

    def test_random_writes_verify(self):
        """Depths 1 to 128, sizes 512 B to 4 MiB: equal checksums of what was meant and what is."""
        with open(self.image, "wb") as file:
            file.truncate(192 << 20)
        with self.device() as device:
            report = json.loads(harness.airlock(
                "blk", "verify", "--json", "--device", f"vfio-user:{device.socket}",
                "--total", TOTAL, timeout=600).stdout)
            self.assertEqual(device.stop(), 0)
        self.assertEqual(report["checksum_expected"], report["checksum_disk"])
        self.assertGreaterEqual(report["bytes_written"], int(TOTAL[:-1]) << UNITS[TOTAL[-1]])
        stats = device.stats()
        self.assertEqual((stats["io_errors"], stats["refused"], stats["violations"]), (0, 0, 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
