# SPDX-License-Identifier: Apache-2.0
"""`airlock serve vsock` without a VM: its sockets, its end, its words."""

import contextlib
import pathlib
import socket
import tempfile
import threading
import time
import unittest

import harness

try:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    HAS_VSOCK = True
except OSError:
    HAS_VSOCK = False


class Vsock(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-vsock-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.uds = self.directory / "host"

    def device(self, *arguments, host=()):
        return harness.Device("vsock", *(host or ("--uds", self.uds)), *arguments,
                              directory=self.directory, name="vsock")

    @contextlib.contextmanager
    def hosts_port(self):
        """A port of this machine's AF_VSOCK that is in use."""
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen()
            yield listener.getsockname()[1]

    def check_family(self, device):
        """Its processes, each of which names itself once it runs."""
        wanted = {"airlock", "socket-keeper", "socket-connect"}
        deadline = time.monotonic() + 20
        while True:
            names = {harness.name_of(pid) for pid in harness.family(device.pid)}
            if names == wanted or time.monotonic() > deadline:
                return self.assertEqual(names, wanted)
            threading.Event().wait(0.01)

    def test_sockets_go_with_the_device(self):
        with self.device() as device:
            self.assertTrue(self.uds.is_socket())
            self.assertTrue(self.uds.with_name("host_seqpacket").is_socket())
            self.check_family(device)
            self.assertEqual(device.stop(), 0)
        self.assertEqual(sorted(path.name for path in self.directory.glob("host*")), [])

    def test_words_for_what_can_not_be(self):
        for arguments, what in ((("--uds", "x" * 97), "no port fits"),
                                (("--uds", self.uds, "--cid", "2"), "--cid"),
                                (("--uds", self.uds, "--queue-size", "100"), "power of two"),
                                (("--uds", self.uds, "--region", "64K"), "give --region 2M")):
            with self.subTest(arguments):
                done = self.refused(*arguments)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(what, done.stderr)

    @unittest.skipUnless(HAS_VSOCK, "this kernel has no AF_VSOCK")
    def test_listens_on_the_hosts_own_ports(self):
        with self.hosts_port() as port:
            free = port
        with self.device("--forward-listen", str(free), host=("--forward-cid", "1")) as device:
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as other:
                with self.assertRaises(OSError):
                    other.bind((socket.VMADDR_CID_ANY, free))
            self.check_family(device)
            self.assertEqual(device.stop(), 0)

    @unittest.skipUnless(HAS_VSOCK, "this kernel has no AF_VSOCK")
    def test_words_for_a_port_that_somebody_has(self):
        with self.hosts_port() as port:
            done = self.refused("--forward-cid", "1", "--forward-listen", str(port))
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"AF_VSOCK port {port}: Address already in use", done.stderr)

    def test_words_for_a_host_that_is_not_clear(self):
        for arguments, what in (((), "[--uds,--forward-cid] is required"),
                                (("--uds", self.uds, "--forward-cid", "1"), "2 were given"),
                                (("--uds", self.uds, "--forward-listen", "22"),
                                 "--forward-listen requires --forward-cid"),
                                (("--forward-cid", "1", "--forward-listen", "22+x"), "Value x")):
            with self.subTest(arguments):
                done = self.refused(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(what, done.stderr)

    @contextlib.contextmanager
    def echo(self, port):
        """Somebody who echoes what comes to a port of the host."""
        def serve(listener):
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        with contextlib.suppress(ConnectionResetError):
                            while some := connection.recv(4096):
                                connection.sendall(some)

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.uds.with_name(f"{self.uds.name}_{port}")))
            listener.listen()
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def test_keeps_to_the_credit_that_a_driver_grants(self):
        with self.device() as device, self.echo(80):
            done = harness.airlock("check", "--device", f"vfio-user:{device.socket}",
                                   "--vsock-port", "80", "--only", "VIRTIO-5.10.6.3.2")
        self.assertEqual([line.split()[:2] for line in done.stdout.splitlines()],
                         [["VIRTIO-5.10.6.3.2/valid", "pass"], ["VIRTIO-5.10.6.3.2/limit", "pass"]])

    def refused(self, *arguments):
        return harness.airlock("serve", "vsock", "--socket", self.directory / "v.sock", *arguments,
                               check=False)

    def test_help_has_a_whole_command_line(self):
        done = harness.airlock("serve", "vsock", "--help")
        self.assertIn("qemu-system-x86_64", done.stdout)
        self.assertIn("CONNECT 5000", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
