# SPDX-License-Identifier: Apache-2.0
"""airlock attach as a client of NBD and a service manager meet it: our device and plugin."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import threading
import unittest

import harness
import nbd_client
from process_case import ONE_LINE, ProcessTest

MIB = 1 << 20
PLUGIN = harness.AIRLOCK.parent / "nbdkit-airlock-plugin.so"


class Attached:
    """One `airlock attach`, with a socket to connect to. Use as a context manager."""

    def __init__(self, device, *arguments, directory):
        self.path = pathlib.Path(directory) / "disk.nbd"
        self.uri = f"nbd+unix:///?socket={self.path}"
        self._clients = []
        self.process = subprocess.Popen(
            [str(harness.AIRLOCK), "attach", "--device", f"vfio-user:{device.socket}",
             "--export", f"nbd:unix:{self.path}", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        self.line = self.process.stdout.readline()
        if "attached" not in self.line:
            raise AssertionError(f"it is not attached: {self.process.communicate()[1]}")
        return self

    def __exit__(self, *_):
        for client in self._clients:
            client.leave()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def server(self):
        """The process id of nbdkit."""
        return int(harness.run("pgrep", "-P", self.process.pid))

    def connect(self):
        self._clients.append(nbd_client.Client(self.path))
        return self._clients[-1]

    def stop(self):
        """Ends it as a service manager would; its exit status and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


class AttachTest(ProcessTest):
    def attach(self, device, *arguments):
        return Attached(device, *arguments, directory=self.directory)

    def error_of(self, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        return caught.exception.errno


class Attach(AttachTest):
    def test_copies_a_disk_in_and_out(self):
        source = self.directory / "source"
        source.write_bytes(os.urandom(8 * MIB))
        with self.device("--queues", "2") as device, self.attach(device) as attached:
            harness.run("nbdcopy", "--flush", source, attached.uri)
            self.assertEqual(harness.sha256(self.image), harness.sha256(source))
            harness.run("nbdcopy", attached.uri, self.directory / "back")
            self.assertEqual(harness.sha256(self.directory / "back"), harness.sha256(source))
            self.assertEqual(attached.stop(), (0, ""))
            self.assertFalse(attached.path.exists())
            self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["violations"], 0)

    def test_says_how_to_connect(self):
        with self.device() as device, self.attach(device) as attached:
            self.assertIn(f"nbd-client -unix {attached.path} /dev/nbd0 -b 512", attached.line)
            uri = re.search(r"nbd\+unix:\S+", attached.line)[0]
            self.assertEqual(harness.run("nbdinfo", "--size", uri), f"{8 * MIB}\n")
            self.assertEqual(attached.path.stat().st_mode & 0o077, 0)  # for this user alone

    # The disk's own abilities, as it told them: VIRTIO 1.3, 5.2.5.
    def test_every_operation_reaches_the_disk(self):
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            self.assertEqual((client.size, client.block_bytes), (8 * MIB, 512))
            self.assertEqual(client.flags, {"flush", "fua", "trim", "zero", "multi_conn"})
            data = os.urandom(64 << 10)
            client.write(data, 4096)
            client.flush()
            self.assertEqual(self.image.read_bytes()[4096:4096 + len(data)], data)
            client.write(data[::-1], MIB, nbd_client.FUA)
            self.assertEqual(client.read(len(data), MIB), data[::-1])
            client.zero(4096, 4096)
            client.zero(4096, 8192, nbd_client.NO_HOLE)
            client.trim(4096, 12288)
            self.assertEqual(client.read(len(data), 4096), bytes(12288) + data[12288:])
            client.close()
            self.assertEqual(attached.stop(), (0, ""))

    def test_nothing_runs_while_nobody_asks(self):
        with self.device() as device, self.attach(device) as attached:
            attached.connect().write(bytes(MIB), 0)
            self.assert_asleep(attached.process.pid, device.pid)

    def test_a_wrong_request_fails_alone(self):
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            self.assertEqual(self.error_of(client.read, 100, 0), errno.EINVAL)
            self.assertEqual(self.error_of(client.write, bytes(512), 7), errno.EINVAL)
            self.assertEqual(self.error_of(client.read, 512, 8 * MIB), errno.EINVAL)
            client.write(b"x" * 512, 8 * MIB - 512)
            self.assertEqual(client.read(512, 8 * MIB - 512), b"x" * 512)
            status, said = attached.stop()
            self.assertEqual(status, 0, said)

    def test_a_disk_that_fails_is_an_error_of_that_request(self):
        small = harness.small_file_system(self, "1m")
        self.image = small / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(8 * MIB)
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            self.assertEqual(self.error_of(client.write, os.urandom(2 * MIB), 0), errno.EIO)
            self.assertEqual(client.read(512, 4 * MIB), bytes(512))
            self.assertEqual(device.stop(), 0)

    def test_read_only(self):
        for where in ("device", "attach"):
            with self.subTest(where):
                flags = {"device": (), "attach": (), where: ("--readonly",)}
                with (self.device(*flags["device"]) as device,
                      self.attach(device, *flags["attach"]) as attached):
                    client = attached.connect()
                    self.assertIn("read_only", client.flags)
                    self.assertEqual(client.read(512, 0), bytes(512))
                    self.assertIn(self.error_of(client.write, b"x" * 512, 0),
                                  (errno.EPERM, errno.EROFS))
                    self.assertEqual(attached.stop()[0], 0)
        self.assertEqual(self.image.read_bytes(), bytes(8 * MIB))

    def test_several_clients_at_once(self):
        def work(number):
            client = attached.connect()
            for round_ in range(20):
                data = bytes([number, round_]) * 4096
                client.write(data, number * MIB)
                if client.read(len(data), number * MIB) == data:
                    good.append(number)
            client.close()

        good = []
        for features in ("packed=on", "packed=off,event_idx=off"):
            with (self.subTest(features), self.device("--queues", "2") as device,
                  self.attach(device, "--features", features) as attached):
                good.clear()
                workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                self.assertEqual(len(good), 6 * 20)
                # What one wrote, another reads.
                self.assertEqual(attached.connect().read(512, 5 * MIB), bytes([5, 19]) * 256)
                self.assertEqual(attached.stop(), (0, ""))

    # With nothing in flight nobody looks at the ring, and nobody is woken.
    def test_uses_no_cpu_at_rest(self):
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            client.write(os.urandom(MIB), 0)
            client.flush()
            first = harness.settle(attached.server)
            self.assertEqual(harness.settle(attached.server), first)
            self.assertEqual(harness.settle(attached.process.pid),
                             harness.settle(attached.process.pid))
            client.read(512, 0)
            self.assertGreater(harness.settle(attached.server), first)

    # What a client was told is written is in the image; what it was not told, it sees fail.
    def test_sigterm_drains(self):
        def write():
            data = os.urandom(4096)
            try:
                for block in range(8 * MIB // 4096):
                    client.write(data, block * 4096)
                    written.append(block)
                    if block == 100:
                        under_way.set()
            except OSError:
                pass
            finally:
                under_way.set()
            contents.append(data)

        written, contents, under_way = [], [], threading.Event()
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            writer = threading.Thread(target=write)
            writer.start()
            under_way.wait()
            self.assertEqual(attached.stop(), (0, ""))
            writer.join()
            self.assertEqual(device.stop(), 0)
        self.assertGreater(len(written), 100)
        image = self.image.read_bytes()
        for block in written:
            self.assertEqual(image[block * 4096:(block + 1) * 4096], contents[0])

    # HD-19, HD-23: whoever waits gets an error, and the command ends and says why.
    def test_killed_device_is_an_error_and_the_end(self):
        with self.device() as device, self.attach(device) as attached:
            client = attached.connect()
            client.write(bytes(512), 0)
            device.process.kill()
            device.process.wait()
            self.assertEqual(self.error_of(client.read, 4096, 0), errno.EIO)
            _, said = attached.process.communicate(timeout=60)
            self.assertEqual(attached.process.returncode, 1)
            ours = [line for line in said.splitlines(True) if line.startswith("airlock:")]
            self.assertEqual(len(ours), 1, said)
            self.assertRegex(ours[0], ONE_LINE)
            self.assertFalse(attached.path.exists())

    # The next one finds the device as it was before.
    def test_killed_command_leaves_no_server_and_a_free_device(self):
        with self.device() as device:
            for _ in range(2):
                with self.attach(device) as attached:
                    attached.connect().write(b"y" * 512, 0)
                    attached.process.kill()
                    device.wait_for_line("client left")
                    device.lines.clear()
            with self.attach(device) as attached:  # in place of the socket that was left
                self.assertEqual(attached.connect().read(512, 0), b"y" * 512)
                self.assertEqual(attached.stop()[0], 0)

    def test_nbdkit_alone_takes_the_plugin(self):
        with self.device() as device:
            done = harness.run(
                "nbdkit", "--exit-with-parent", "-U", "-", PLUGIN, f"vfio-user:{device.socket}",
                "--run", 'nbdinfo --size "$uri"')
            self.assertEqual(done, f"{8 * MIB}\n")
        for settings, says in (((), "device= is missing"), (("device=floppy:a",), "neither"),
                               (("colour=red",), "ring-features="),
                               (("device=floppy:a", "ring-features=x"), "ring-features")):
            with self.subTest(settings), self.assertRaisesRegex(RuntimeError, says):
                harness.run("nbdkit", "-f", "-U", "-", PLUGIN, *settings)


class BadInput(AttachTest):
    def attach_refused(self, *arguments, to=None, **expected):
        return self.refused("attach", "--device", f"vfio-user:{self.socket}", "--export",
                            to or f"nbd:unix:{self.directory}/disk.nbd", *arguments, **expected)

    def test_exports_that_there_are_not(self):
        for to, says in (("ublk", "NBD"), ("tap:tap0", "disks"), ("vsock:3", "disks"),
                         ("console:/run/c", "disks"), ("nbd:unix:", "nbd:unix:PATH"),
                         ("nbd:10.0.0.1:10809", "nbd:unix:PATH"), ("floppy", "nbd:unix:PATH")):
            with self.subTest(to):
                self.attach_refused(to=to, status=2, says=says)

    def test_words_that_are_missing_or_wrong(self):
        for arguments in ((), ("--device", "pci:0000:00:05.0"), ("--export", "nbd:unix:/x"),
                          ("--device", "pci:0000:00:05.0", "--export", "nbd:unix:/x", "--bogus")):
            with self.subTest(arguments):
                self.refused("attach", *arguments, status=2)
        self.attach_refused("--features", "zero_copy=on", status=2, says="zero_copy")
        self.assertIn("example:", harness.airlock("attach", "--help").stdout)

    def test_no_device_there(self):
        self.attach_refused(says="start the device")
        to = ("--export", f"nbd:unix:{self.directory}/disk.nbd")
        self.refused("attach", "--device", "pci:ffff:ff:1f.7", *to, says="lspci")
        self.refused("attach", "--device", "pci:5", *to, status=2, says="no PCI address")
        self.refused("attach", "--device", "floppy:a", *to, status=2, says="vfio-user:PATH")

    def test_device_that_another_client_has(self):
        with self.device() as device, self.attach(device):
            self.refused("attach", "--device", f"vfio-user:{device.socket}", "--export",
                         f"nbd:unix:{self.directory}/second.nbd", says="one client at a time")

    def test_nbdkit_and_plugin_that_are_missing(self):
        self.attach_refused(says="apt-get install nbdkit",
                            env={**os.environ, "PATH": str(self.directory)})
        self.attach_refused("--plugin", "/nonexistent/plugin.so", says="--plugin FILE")

    def test_places_where_no_socket_can_be(self):
        taken = self.directory / "taken"
        taken.write_text("precious")
        self.attach_refused(to=f"nbd:unix:{taken}", says="no socket")
        self.assertEqual(taken.read_text(), "precious")
        self.attach_refused(to=f"nbd:unix:{self.directory}/{'x' * 120}", says="107")
        with self.device() as device, self.attach(device) as attached:
            self.attach_refused(to=f"nbd:unix:{attached.path}", says="another server")
            self.assertEqual(attached.connect().read(512, 0), bytes(512))


if __name__ == "__main__":
    unittest.main(verbosity=2)
