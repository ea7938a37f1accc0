# SPDX-License-Identifier: Apache-2.0
"""What a network card receives is on the disk, and nobody copied it: devices of one process share
their region. Devices that don't are refused."""

import json
import os
import random
import socket
import subprocess
import unittest

import harness
from example_case import ExampleTest

FRAMES = 300
SECTORS = 2 * 512
HEAD = b"\xff" * 6 + bytes.fromhex("52540000000288b5")  # for every station


class Served(harness.Process):
    """airlock serve --config. The disk is the last device of the file."""

    READY = "serving blk"

    def __init__(self, file):
        super().__init__(harness.AIRLOCK, "serve", "--config", file)


class NetToDisk(ExampleTest):
    def setUp(self):
        super().setUp()
        self.listener = self.enterContext(socket.socket(socket.AF_UNIX))
        self.listener.bind(str(self.directory / "peer.sock"))
        self.listener.listen()
        self.listener.settimeout(60)
        self.disk = self.directory / "disk.img"
        self.disk.write_bytes(bytes(1 << 20))

    def serve_both(self, net_region, disk_region):
        common = 'socket = "{0}/{1}.sock"\nregion = "{2}"\nstats = "{0}/{1}.json"\n'
        config = self.directory / "airlock.toml"
        config.write_text(
            "[[device]]\ntype = \"net\"\n" + common.format(self.directory, "net", net_region) +
            f"backend = \"socket:unix:{self.directory}/peer.sock\"\n"
            "[[device]]\ntype = \"blk\"\n" + common.format(self.directory, "disk", disk_region) +
            f"backend = \"file:{self.disk}\"\n")
        return self.enterContext(Served(config))

    def name(self, device):
        return f"vfio-user:{self.directory}/{device}.sock"

    def test_frames_are_on_the_disk_and_were_not_copied(self):
        served = self.serve_both("shared:both,8M", "shared:both,8M")
        self.assertIn("can each read and change", served.wait_for_line("region shared:both: "))
        peer, _ = self.listener.accept()
        self.addCleanup(peer.close)
        example = subprocess.Popen(
            [os.environ["EXAMPLE"], self.name("net"), self.name("disk"), str(FRAMES)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for close in example.stdout.close, example.stderr.close, example.wait, example.kill:
            self.addCleanup(close)
        self.assertIn("listening", example.stderr.readline())
        payload = random.Random(7).randbytes(FRAMES * SECTORS)
        for i in range(FRAMES):
            frame = HEAD + payload[i * SECTORS:(i + 1) * SECTORS]
            peer.sendall(len(frame).to_bytes(4) + frame)
        said, errors = example.communicate(timeout=60)
        self.assertEqual(example.returncode, 0, errors)
        self.assertEqual(said, f"{FRAMES} frames, {len(payload)} bytes stored, 0 copied\n")
        self.assertEqual(self.disk.read_bytes()[:len(payload)], payload)
        self.assertEqual(served.stop(), 0)
        counters = json.loads((self.directory / "disk.json").read_text())
        self.assertEqual(counters["bytes_written"], len(payload))
        self.assertEqual(counters["copies"], 0)

    def test_regions_that_only_look_alike_are_refused(self):
        self.serve_both("8M", "8M")
        self.refuses("the device has no usable bounce region")

    def test_regions_of_two_sizes_are_refused(self):
        self.serve_both("8M", "16M")
        self.refuses("the size is")

    def refuses(self, why):
        done = subprocess.run([os.environ["EXAMPLE"], self.name("net"), self.name("disk"), "1"],
                              capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(why, done.stderr)

    def test_says_how_it_is_called(self):
        self.run_example("vfio-user:/a", "vfio-user:/b", status=2)
        self.run_example("vfio-user:/a", "vfio-user:/b", "many", status=2)
        self.run_example("vfio-user:/nonexistent", "vfio-user:/b", "1", status=1)


if __name__ == "__main__":
    unittest.main()
