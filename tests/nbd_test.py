# SPDX-License-Identifier: Apache-2.0
"""Disks of an NBD server, as a person runs them: in the sandbox, with the server coming and going,
with TLS; and what --on-error does."""

import os
import pathlib
import signal
import socket
import subprocess
import threading
import unittest

import harness
from process_case import ProcessTest

MIB = 1 << 20
KILLS = 100


class Server:
    """One nbdkit on a socket of the test's, which can be killed and started again."""

    def __init__(self, path, *words):
        self.socket = pathlib.Path(path)
        self._words = [str(word) for word in words]
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"

    def start(self):
        """Returns at once: who connects may come too early."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["nbdkit", "--foreground", "--exit-with-parent", "-U", str(self.socket), *self._words],
            stdin=subprocess.DEVNULL)

    def wait_until_there(self):
        while True:
            if self.process.poll() is not None:
                raise AssertionError("nbdkit ended")
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self.socket)) == 0:
                    return self
            threading.Event().wait(0.01)

    def kill(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None


class Verifying:
    """`airlock blk verify` over and over, each time to its end. A context: at its end all was
    right, or the test fails."""

    def __init__(self, test, device):
        self._test, self._device = test, device
        self._stop = threading.Event()
        self.runs, self.wrong = 0, None
        self._thread = threading.Thread(target=self._work)

    def _work(self):
        while not self._stop.is_set():
            done = self._test.verify(self._device, "--total", "32M", "--bs-max", "256K",
                                     check=False)
            if done.returncode != 0:
                self.wrong = done.stderr
                return
            self.runs += 1

    def wait_for_more(self, before):
        """Until the device has worked for a while since: it has been served again."""
        while harness.cpu_ns(self._device.pid) < before + 5_000_000:
            self._test.assertIsNone(self.wrong)
            threading.Event().wait(0.005)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._test.assertIsNone(self.wrong)


class NbdTest(ProcessTest):
    def setUp(self):
        super().setUp()
        self.server_socket = self.directory / "nbd.sock"

    def server(self, *words):
        return Server(self.server_socket, *words)

    def verify(self, device, *arguments, **options):
        return harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}",
                               *arguments, **options)


class Nbd(NbdTest):
    def test_a_disk_in_the_sandbox(self):
        with self.server("file", self.image) as server:
            server.wait_until_there()
            with self.device("--queues", "2", backend=f"nbd:{server.uri}") as device:
                self.verify(device, "--total", "32M")
                device.wait_for_line("sandbox: ")
                self.assertEqual(device.stop(), 0)
            self.assertEqual(device.stats()["io_errors"], 0)
            self.assertFalse([line for line in device.log() if "refused the system call" in line])

    def test_the_uri_is_enough(self):
        with self.server("memory", "8M") as server:
            server.wait_until_there()
            with self.device(backend=server.uri) as device:
                info = harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")
        self.assertIn("8M", info.stdout)

    def test_nothing_is_lost_or_done_twice_though_the_server_is_killed(self):
        with self.server("file", self.image) as server:
            server.wait_until_there()
            with self.device("--queues", "2", backend=f"nbd:{server.uri}") as device:
                with Verifying(self, device) as work:
                    for _ in range(KILLS):
                        before = harness.cpu_ns(device.pid)
                        server.kill()
                        server.start()
                        work.wait_for_more(before)
                self.assertGreater(work.runs, 0)
                self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["io_errors"], 0)

    def test_a_server_that_is_not_there(self):
        self.serve_refused("--backend", "nbd:nbd+unix:///?socket=/nowhere/s", says="No such file")
        self.serve_refused("--backend", "nbd:http://x/", says="there is no 'http' here")
        self.serve_refused("--backend", "nbd://127.0.0.1:1/", says="Connection refused")

    def test_its_end_does_not_wait_for_a_server(self):
        with self.server("file", self.image) as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{server.uri}") as device:
                writing = subprocess.Popen(
                    [str(harness.AIRLOCK), "blk", "verify", "--device",
                     f"vfio-user:{device.socket}", "--total", "1T"],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(writing.wait)
                self.addCleanup(writing.kill)
                device.wait_for_cpu()
                server.kill()
                device.wait_for_line("requests wait until it is back")
                self.assertEqual(device.stop(), 0)

    def test_nothing_runs_while_nobody_asks(self):
        with self.server("file", self.image) as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{server.uri}") as device:
                self.verify(device, "--total", "1M")
                self.assert_asleep(device.pid)

    def test_a_killed_device_leaves_no_process(self):
        with self.server("memory", "8M") as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{server.uri}") as device:
                family = [pid for pid in harness.family(device.pid) if pid != device.pid]
                self.assertIn("nbd-connector", [harness.name_of(pid) for pid in family])
                device.process.kill()
                device.process.wait()
                for pid in family:
                    while pathlib.Path(f"/proc/{pid}/exe").exists():
                        threading.Event().wait(0.01)


class Tls(NbdTest):
    """With keys: they are read by the process that connects, each time anew."""

    def setUp(self):
        super().setUp()
        self.keys = self.directory / "keys.psk"
        self.keys.write_text(f"alice:{os.urandom(32).hex()}\n")

    def uri(self, user="alice", keys=None):
        return (f"nbds+unix://{user}@/?socket={self.server_socket}"
                f"&tls-psk-file={keys or self.keys}")

    def secure_server(self, *words):
        return self.server("--tls=require", f"--tls-psk={self.keys}", *words)

    def test_a_disk_in_the_sandbox(self):
        with self.secure_server("memory", "8M") as server:
            server.wait_until_there()
            with self.device("--queues", "2", backend=f"nbd:{self.uri()}") as device:
                self.verify(device, "--total", "64M")
                self.assertIn("nbd-tls",
                              [harness.name_of(pid) for pid in harness.family(device.pid)])
                self.assertEqual(device.stop(), 0)
            self.assertEqual(device.stats()["io_errors"], 0)
            self.assertFalse([line for line in device.log() if "refused the system call" in line])

    def test_the_server_is_killed(self):
        with self.secure_server("file", self.image) as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{self.uri()}") as device:
                with Verifying(self, device) as work:
                    for _ in range(10):
                        before = harness.cpu_ns(device.pid)
                        server.kill()
                        server.start()
                        work.wait_for_more(before)
                self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["io_errors"], 0)

    def test_nothing_runs_while_nobody_asks(self):
        with self.secure_server("memory", "8M") as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{self.uri()}") as device:
                self.verify(device, "--total", "1M")
                self.assert_asleep(device.pid)

    def test_who_is_not_let_in(self):
        with self.secure_server("memory", "8M") as server:
            server.wait_until_there()
            self.serve_refused("--backend", f"nbd:{self.uri('bob')}", says="no key of bob")
            others = self.directory / "others.psk"
            self.serve_refused("--backend", f"nbd:{self.uri(keys=others)}", says="it can't be read")
            others.write_text(f"alice:{os.urandom(32).hex()}\n")
            self.serve_refused("--backend", f"nbd:{self.uri(keys=others)}", says="TLS: ")
            # Without TLS, where the server wants it.
            self.serve_refused("--backend", f"nbd:{server.uri}", says=server.uri)

    def test_a_server_without_tls(self):
        with self.server("memory", "8M") as server:
            server.wait_until_there()
            self.serve_refused("--backend", f"nbd:{self.uri()}", says="it has no TLS")


class Rbd(NbdTest):
    """As far as it goes without a cluster."""

    PLUGIN = harness.AIRLOCK.parent / "nbdkit-airlock-rbd-plugin.so"

    def test_names_that_are_none(self):
        self.serve_refused("--backend", "rbd:disk", says="it is not POOL/IMAGE")

    def test_no_cluster(self):
        if not self.PLUGIN.exists():
            self.skipTest("built without librbd")
        conf = self.directory / "ceph.conf"
        backend = f"rbd:rbd/disk,conf={conf}"
        self.serve_refused("--backend", backend, says=f"{conf}: No such file or directory")
        # A monitor that nobody is.
        conf.write_text("[global]\nmon_host = v2:127.0.0.1:1\nauth_client_required = none\n"
                        "client_mount_timeout = 1\n")
        self.serve_refused("--backend", backend, says="connect to the cluster: ")


class OnError(NbdTest):
    """nbdkit's error filter fails requests as long as a file is there."""

    def failing(self):
        self.trigger = self.directory / "fail"
        return self.server("--filter=error", "memory", "8M", "error-pwrite=ENOSPC",
                           "error-pwrite-rate=100%", f"error-pwrite-file={self.trigger}")

    def writing(self, device):
        work = subprocess.Popen(
            [str(harness.AIRLOCK), "blk", "verify", "--device", f"vfio-user:{device.socket}",
             "--total", "1M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(work.communicate)
        self.addCleanup(work.kill)
        return work

    def test_report(self):
        with self.failing() as server:
            server.wait_until_there()
            with self.device(backend=f"nbd:{server.uri}") as device:
                self.trigger.touch()
                self.assertEqual(self.verify(device, "--total", "1M", check=False).returncode, 1)
                device.wait_for_line("the driver gets an I/O error")

    def test_stop(self):
        with self.failing() as server:
            server.wait_until_there()
            with self.device("--on-error", "stop", backend=f"nbd:{server.uri}") as device:
                self.trigger.touch()
                work = self.writing(device)
                device.wait_for_line("until SIGUSR2 has it tried again")
                device.settle()
                self.assertIsNone(work.poll())
                self.trigger.unlink()
                device.process.send_signal(signal.SIGUSR2)
                self.assertEqual(work.wait(60), 0)
                self.assertEqual(device.stop(), 0)
            stats = device.stats()
            self.assertEqual(stats["io_errors"], 0)
            self.assertGreater(stats["held"], 0)

    def test_retry(self):
        with self.failing() as server:
            server.wait_until_there()
            with self.device("--on-error", "retry", backend=f"nbd:{server.uri}") as device:
                self.trigger.touch()
                work = self.writing(device)
                device.wait_for_line("and tried again in 200 ms")
                self.trigger.unlink()
                self.assertEqual(work.wait(60), 0)

    def test_a_word_that_is_none(self):
        self.serve_refused("--backend", "memory:8M", "--on-error", "panic", status=2,
                           says="report|stop|retry|enospc")

    def test_a_signal_that_nobody_needs(self):
        with self.device() as device:
            device.process.send_signal(signal.SIGUSR2)
            self.verify(device, "--total", "1M")


if __name__ == "__main__":
    unittest.main()
