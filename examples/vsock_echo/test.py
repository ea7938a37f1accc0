# SPDX-License-Identifier: Apache-2.0
"""An echo over vsock: asked by the host, and asking it."""

import os
import socket
import subprocess
import threading
import unittest

from example_case import ExampleTest


class VsockEcho(ExampleTest):
    def setUp(self):
        super().setUp()
        self.uds = self.directory / "host"
        self.device = self.serve("vsock", "--uds", self.uds)

    def test_echoes_what_the_host_says(self):
        words = [os.environ["EXAMPLE"], f"vfio-user:{self.device.socket}", "listen", "5000"]
        text = bytes(range(256)) * 4096
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as example:
            self.assertEqual(example.stdout.readline(), "cid 3 listens on port 5000\n")
            with socket.socket(socket.AF_UNIX) as peer, peer.makefile("rb") as file:
                peer.connect(str(self.uds))
                peer.sendall(b"CONNECT 5000\n")

                def say():
                    peer.sendall(text)
                    peer.shutdown(socket.SHUT_WR)
                thread = threading.Thread(target=say)
                thread.start()
                self.assertTrue(file.readline().startswith(b"OK "))
                self.assertEqual(file.read(), text)
                thread.join()
            self.assertEqual(example.wait(60), 0)
        self.assertEqual(self.device.stop(), 0)
        stats = self.device.stats()
        self.assertEqual((stats["from_host"], stats["from_guest"]), (1, 0))
        self.assertEqual((stats["bytes_to_guest"], stats["bytes_to_host"]), (len(text), len(text)))

    def test_asks_the_host(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{self.uds}_6000")
            listener.listen(1)

            def answer():
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(peer.recv(100).upper())
                    peer.recv(1)
            thread = threading.Thread(target=answer)
            thread.start()
            said = self.run_example(f"vfio-user:{self.device.socket}", "connect", "6000", "hello")
            self.assertEqual(said, b"HELLO\n")
            thread.join(60)

    def test_nobody_listens(self):
        self.run_example(f"vfio-user:{self.device.socket}", "connect", "6001", status=1)
        self.run_example(status=2)


if __name__ == "__main__":
    unittest.main()
