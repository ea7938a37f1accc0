# SPDX-License-Identifier: Apache-2.0
"""A whole Debian 13 with its root file system on our disk, used as a person would over its console.

`./dev lab --root` makes the image (lab/root-disk) and runs this; without an image there is nothing
to test, and it fails. Some minutes without KVM."""

import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import harness

sys.path.append(str(harness.REPO / "lab"))
from airlock_lab import machine  # noqa: E402
from airlock_lab.places import LAB  # noqa: E402

IMAGES = LAB / "root"
BOOT_SECONDS = 900
COMMAND_SECONDS = 300
# A busy machine without KVM may need longer for a unit than systemd allows by itself, and the
# processor's clock, which is this machine's, is no measure of a guest that got little of it.
KERNEL_ARGUMENTS = ("root=/dev/vda rw console=ttyS0 random.trust_cpu=on cryptomgr.notests "
                    "no_timer_check tsc=unstable clocksource=hpet nowatchdog "
                    "systemd.default_timeout_start_sec=900 "
                    "systemd.default_device_timeout_sec=900")


class Console:
    """The guest's serial line: sends lines, waits for what has to appear. All of it is in `log`."""

    def __init__(self, path, log):
        self._log = log
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._peer = None
        self._unread = ""
        self.text = ""

    def accept(self):
        """The end that QEMU has connected, once it has."""
        self._listener.settimeout(30)
        self._peer, _ = self._listener.accept()

    def close(self):
        for end in (self._peer, self._listener):
            if end:
                end.close()

    def send(self, line):
        self._peer.sendall(line.encode() + b"\n")

    def expect(self, pattern, seconds):
        """The match of the first occurrence that was not read yet."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self._unread)):
            self._peer.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._peer.recv(65536)
            except TimeoutError:
                raise AssertionError(f"no {pattern!r} within {seconds} s:\n{self.tail()}") from None
            if not data:
                raise AssertionError(f"the console ended before {pattern!r}:\n{self.tail()}")
            self._take(data.decode(errors="replace"))
        self._unread = self._unread[found.end():]
        return found

    def read_to_end(self, seconds):
        """Returns once QEMU has closed its end."""
        deadline = time.monotonic() + seconds
        while True:
            self._peer.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._peer.recv(65536)
            except TimeoutError:
                raise AssertionError(f"no end within {seconds} s:\n{self.tail()}") from None
            if not data:
                return
            self._take(data.decode(errors="replace"))

    def _take(self, text):
        self._unread += text
        self.text += text
        self._log.write_text(self.text)

    def tail(self):
        return self.text[-3000:]

    def log_in(self):
        self.expect("airlock login: ", BOOT_SECONDS)
        self.send("root")
        self.expect("Password: ", COMMAND_SECONDS)
        self.send("airlock")
        self.expect("root@airlock.*# ", COMMAND_SECONDS)
        # The kernel's own messages would come between a command's lines.
        self.run("dmesg --console-level emerg; stty -echo")
        self.run("export TERM=dumb PAGER=cat DEBIAN_FRONTEND=noninteractive")

    def run(self, command):
        """What a command in the guest's shell says; it has to succeed."""
        self.send(f"echo @@begin''@@; {command}; echo @@status $?@@")
        self.expect("@@begin@@\r?\n", COMMAND_SECONDS)
        said = self.expect(r"(?s)(.*?)@@status (\d+)@@", COMMAND_SECONDS)
        if said[2] != "0":
            raise AssertionError(f"{command}: status {said[2]}: {said[1]}")
        return said[1].replace("\r", "").strip()


class Root(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-root-", dir=IMAGES)
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.disk = self.directory / "disk.img"
        harness.run("cp", "--sparse=always", IMAGES / "disk.img", self.disk)
        self.repository = self.directory / "repository.img"
        shutil.copyfile(IMAGES / "repository.img", self.repository)

    def device(self, name, image, *arguments):
        return harness.Device("blk", "--backend", f"file:{image}", "--dma", "require", *arguments,
                              directory=self.directory, name=name, guard="bounce")

    @contextlib.contextmanager
    def guest(self, *devices):
        """QEMU and its console; ended outright where the guest did not end by itself."""
        console = Console(self.directory / "console.sock", IMAGES / "console.log")
        words = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
                 "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "2", "-m", "1G",
                 "-bios", "qboot.rom", "-kernel", IMAGES / "vmlinuz", "-initrd", IMAGES / "initrd",
                 "-append", KERNEL_ARGUMENTS, "-serial", "chardev:console",
                 "-chardev", f"socket,id=console,path={self.directory}/console.sock"]
        for index, device in enumerate(devices):
            words += ["-device", machine.vfio_user_device(index, str(device.socket))]
        qemu = subprocess.Popen([harness.REPO / "lab/trixie", "qemu-system-x86_64", *words],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            console.accept()
            yield qemu, console
        finally:
            if qemu.poll() is None:
                qemu.kill()
            qemu.wait()
            console.close()

    def check_disks(self, console):
        """Both disks are our module's, and the root file system is on the first."""
        self.assertEqual(console.run("findmnt -no SOURCE /"), "/dev/vda")
        self.assertEqual(console.run("findmnt -no SOURCE /srv/repository"), "/dev/vdb")
        for slot in ("10", "11"):
            driver = console.run(f"readlink /sys/bus/pci/devices/0000:00:{slot}.0/driver")
            self.assertTrue(driver.endswith("/virtio_pci_airlock"), driver)

    def check_clean(self, console):
        """Nothing failed, and no kernel error or trace is in the log of this boot."""
        self.assertEqual(console.run("systemctl is-system-running --wait || true"), "running")
        self.assertEqual(console.run("dmesg --level=emerg,alert,crit,err"), "")
        self.assertEqual(console.run("dmesg | grep -E 'WARNING:|BUG:|Call Trace' || true"), "")

    # It boots from a disk that cannot see its memory, installs from another, reboots, is clean.
    def test_debian_lives_on_our_disk(self):
        with self.device("root", self.disk) as root, \
                self.device("repository", self.repository, "--readonly") as repository:
            with self.guest(root, repository) as (qemu, console):
                console.log_in()
                self.check_disks(console)
                self.assertEqual(console.run("hello 2>/dev/null || echo none"), "none")
                console.run("apt-get --quiet update")
                console.run("apt-get --quiet --yes install hello")
                self.assertEqual(console.run("hello"), "Hello, world!")
                self.check_clean(console)
                console.send("systemctl reboot")
                console.log_in()
                self.check_disks(console)
                self.assertEqual(console.run("hello"), "Hello, world!")
                console.run("dpkg --verify hello && dpkg --audit")
                self.check_clean(console)
                console.send("systemctl poweroff")
                console.read_to_end(BOOT_SECONDS)
                self.assertEqual(qemu.wait(COMMAND_SECONDS), 0)
            for device in (root, repository):
                self.assertEqual(device.stop(), 0)
                stats = device.stats()
                self.assertEqual((stats["violations"], stats["io_errors"], stats["refused"]),
                                 (0, 0, 0))
                self.assertEqual((stats["dma"]["fds_mapped"], stats["dma"]["guest_bytes_max"]),
                                 (0, 0))
            self.assertGreater(root.stats()["bytes_written"], 0)
        harness.check_ext4(self.disk)
        self.assertIn("clean", harness.run("dumpe2fs", "-h", self.disk))


if __name__ == "__main__":
    unittest.main(verbosity=2)
