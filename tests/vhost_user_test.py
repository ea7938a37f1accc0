# SPDX-License-Identifier: Apache-2.0
"""`airlock serve vhost-user` in front of a real backend, without a VM: our own driver writes and
checks a disk that qemu-storage-daemon serves, while that is killed again and again.

Needs the lab (lab/setup), for the backend, and the binary that AIRLOCK names."""

import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import unittest

import harness

KILLS = int(os.environ.get("AIRLOCK_KILLS", "100"))
TRIXIE = harness.REPO / "lab/trixie"


class VhostUserTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-vhu-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.image = self.directory / "disk"
        self.socket = self.directory / "backend.sock"
        self.backend = None

    def start_backend(self, kind="raw", *options):
        """Serves the image; ended with the test. Killed ones leave their socket's file."""
        if not self.image.exists():
            harness.run(TRIXIE, "qemu-img", "create", "-f", kind, self.image, "64M")
        self.socket.unlink(missing_ok=True)
        self.backend = harness.Process(
            TRIXIE, "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=file,filename={self.image}",
            "--blockdev", f"driver={kind},node-name=disk,file=file",
            "--export", ",".join(("type=vhost-user-blk,id=export,node-name=disk,writable=on",
                                  f"addr.type=unix,addr.path={self.socket}", *options)))
        self.addCleanup(self.backend.stop)
        while not self.socket.exists():
            self.assertIsNone(self.backend.process.poll(), self.backend.log())
            threading.Event().wait(0.01)

    def kill_backend(self):
        self.backend.process.kill()
        self.backend.process.wait()

    def gateway(self, *arguments):
        return harness.Device("vhost-user", "--device", "blk", "--backend-socket", self.socket,
                              *arguments, directory=self.directory)

    def verify(self, device, total, *arguments):
        return subprocess.Popen(
            [str(harness.AIRLOCK), "blk", "verify", "--device", f"vfio-user:{device.socket}",
             "--total", total, "--iodepth-max", "32", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Blk(VhostUserTest):
    # The disk is the backend's; its memory of ours is the region, and the rings between us.
    def test_a_disk_behind_the_buffer(self):
        self.start_backend("qcow2")
        with self.gateway() as device:
            writer = self.verify(device, "16M")
            self.assertEqual(writer.wait(300), 0, writer.stdout.read())
            writer.stdout.close()
            self.assertEqual(device.stop(), 0)
        stats = device.stats()
        self.assertEqual((stats["violations"], stats["backend"]["losses"]), (0, 0))
        self.backend.stop()
        harness.run(TRIXIE, "qemu-img", "check", self.image)


class Kills(VhostUserTest):
    def wait_until_connected(self, device, before=0):
        """The gateway's counters, as it writes them itself, once it has a connection that it did
        not have when they said `before`: it may not know yet that the last one is dead."""
        while True:
            device.stats_file.write_text("")
            device.process.send_signal(signal.SIGUSR1)
            while not device.stats_file.read_text().endswith("\n"):
                threading.Event().wait(0.002)
            backend = device.stats()["backend"]
            if backend["connected"] and backend["connections"] > before:
                return backend

    def kill_again_and_again(self, kills, *backend):
        self.start_backend(*backend)
        killed = 0
        moments = random.Random(1)
        with self.gateway() as device:
            now = self.wait_until_connected(device)
            # Those count that met a connection: it is made anew when a client goes, too.
            while now["losses"] < kills:
                writer = self.verify(device, "96M", "--seed", killed + 1)
                while now["losses"] < kills:
                    threading.Event().wait(moments.uniform(0, 0.3))  # the moment is the test's
                    if writer.poll() is not None:
                        break
                    self.kill_backend()
                    self.start_backend(*backend)
                    now = self.wait_until_connected(device, now["connections"])
                    killed += 1
                said = writer.communicate(timeout=300)[0]
                self.assertEqual(writer.returncode, 0, f"after {killed} kills: {said}")
            self.assertEqual(device.stop(), 0)
        stats = device.stats()
        self.assertEqual(stats["violations"], 0)
        self.assertGreaterEqual(stats["backend"]["losses"], kills)

    # Killed at any moment, under load: what was in flight is done by the next one, once for the
    # driver, which sees a pause and checks every byte in the end.
    def test_kills_lose_and_duplicate_nothing(self):
        self.kill_again_and_again(KILLS)

    # qcow2 keeps where its clusters are in its own memory until it is flushed, as a disk's cache
    # does: unless it is told not to.
    def test_nor_of_a_qcow2_disk_without_a_cache(self):
        self.kill_again_and_again(KILLS // 5, "qcow2", "writethrough=on")


class BadInput(VhostUserTest):
    def refused(self, status, *arguments):
        done = harness.airlock("serve", "vhost-user", *arguments, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def test_says_what_is_wrong(self):
        common = ("--backend-socket", self.directory / "nobody", "--socket", self.directory / "s")
        self.assertIn("start the backend first", self.refused(1, "--device", "blk", *common))
        self.assertIn("no such type", self.refused(2, "--device", "toaster", *common))
        self.assertIn("give --tag", self.refused(2, "--device", "fs", *common))
        self.assertIn("give --cid", self.refused(2, "--device", "vsock", *common))
        self.assertIn("no address", self.refused(2, "--device", "net", "--mac", "5", *common))
        self.assertIn("never guest memory",
                      self.refused(2, "--device", "blk", "--dma", "open", *common))


if __name__ == "__main__":
    unittest.main(verbosity=2)
