# SPDX-License-Identifier: Apache-2.0
"""Lines between a driver and whoever is at the host's end of a port: a socket, a terminal."""

import os
import pty
import signal
import socket
import subprocess
import termios
import threading
import unittest

import harness
from example_case import ExampleTest


class Talk(ExampleTest):
    def start_talk(self, device, port, text):
        return subprocess.Popen([os.environ["EXAMPLE"], f"vfio-user:{device.socket}", port, text],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def finish(self, talk, said):
        self.assertEqual(talk.communicate(timeout=60)[0], said)
        self.assertEqual(talk.returncode, 0)

    def test_over_a_socket_one_client_after_the_other(self):
        path = self.directory / "agent.sock"
        device = self.serve("console", "--port", f"console=file:{self.directory}/log", "--port",
                            f"agent=socket:{path}")
        for word in ("one", "two"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                client.connect(str(path))
                # What is said before anybody listens is there when somebody does. The guest's line
                # may come while nobody has been seen here: that is lost, as on any line.
                client.sendall(f"{word} back\n".encode())
                self.finish(self.start_talk(device, "agent", word), f"{word} back\n")
        self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["violations"], 0)
        self.assertFalse(path.exists())

    def test_over_a_pseudoterminal(self):
        link = self.directory / "tty"
        device = self.serve("console", "--backend", f"pty:{link}")
        with open(link, "r+b", buffering=0) as terminal:
            terminal.write(b"welcome\n")
            self.finish(self.start_talk(device, "console", "hello"), "welcome\n")
            # The terminal is still open, and nobody says anything: nothing wakes anybody, but TSan.
            if os.environ.get("AIRLOCK_SANITIZE") != "thread":
                device.settle()
                before = harness.switches(device.pid)
                threading.Event().wait(0.2)  # the observation window, not a delay for something
                self.assertEqual(harness.switches(device.pid), before)
            self.assertEqual(device.stop(), 0)
        self.assertFalse(link.is_symlink())

    def test_to_a_file(self):
        log = self.directory / "log"
        path = self.directory / "agent.sock"
        device = self.serve("console", "--port", f"console=file:{log}", "--port",
                            f"agent=socket:{path}")
        talk = self.start_talk(device, "console", "for the log")
        while not (log.exists() and log.read_text()):
            threading.Event().wait(0.01)
        talk.kill()  # a file never answers
        talk.communicate()
        self.assertEqual(device.stop(), 0)
        self.assertEqual(log.read_text(), "for the log\n")

    def on_a_terminal(self, end):
        """Serves on a terminal, talks, and ends as told; the mode of the terminal is as before."""
        ours, its = pty.openpty()
        before = termios.tcgetattr(its)
        device_socket = self.directory / "c.sock"
        serve = subprocess.Popen([str(harness.AIRLOCK), "serve", "console", "--socket",
                                  str(device_socket), "--backend", "stdio"],
                                 stdin=its, stdout=its, stderr=subprocess.PIPE, text=True)
        try:
            for line in serve.stderr:
                if "serving console" in line:
                    break
            mode = termios.tcgetattr(its)
            self.assertFalse(mode[3] & (termios.ECHO | termios.ICANON | termios.ISIG))
            os.write(ours, b"typed\x01\x01\n")
            talk = subprocess.run([os.environ["EXAMPLE"], f"vfio-user:{device_socket}", "console",
                                   "shown"], capture_output=True, timeout=60)
            self.assertEqual(talk.stdout, b"typed\x01\n")
            self.assertIn(b"shown", os.read(ours, 100))
            end(serve, ours)
            self.assertEqual(serve.wait(30), 0)
        finally:
            if serve.poll() is None:
                serve.kill()
                serve.wait()
            serve.stderr.close()
        self.assertEqual(termios.tcgetattr(its), before)
        os.close(its)
        os.close(ours)

    def test_on_a_terminal_that_is_given_back(self):
        self.on_a_terminal(lambda serve, _: serve.send_signal(signal.SIGTERM))

    def test_on_a_terminal_that_ends_it(self):
        self.on_a_terminal(lambda _, terminal: os.write(terminal, b"\x01x"))

    def refused(self, *arguments, status, says):
        done = harness.airlock("serve", "console", "--socket", self.directory / "c.sock",
                               *arguments, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(says, done.stderr)

    def test_what_makes_no_sense(self):
        self.refused(status=2, says="--backend and --port")
        self.refused("--backend", "pty", "--port", "a=pty", status=2, says="--backend and --port")
        self.refused("--port", "agent", status=2, says="NAME=BACKEND")
        self.refused("--port", "a=pty", "--port", "a=pty", status=2, says="one name")
        self.refused("--port", "a=stdio", "--port", "b=stdio", status=2, says="one stdio")
        self.refused("--port", f"{'n' * 65}=pty", status=2, says="too long")
        self.refused("--backend", "carrier-pigeon", status=1, says="no such backend")
        self.refused("--backend", "file:/no/such/folder/f", status=1, says="No such file")
        self.refused("--backend", "pty", "--region", "256K", status=1, says="give --region 2M")


if __name__ == "__main__":
    unittest.main()
