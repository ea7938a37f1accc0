# SPDX-License-Identifier: Apache-2.0
"""What tests in a VM share: a folder, a disk image, a device, a boot that has to end well."""

import pathlib
import tempfile
import unittest

import harness

DISK_BYTES = 96 << 20


class VmTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-vm-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)
        self.image = self.directory / "disk.img"
        with open(self.image, "wb") as file:
            file.truncate(DISK_BYTES)

    def device(self, *arguments, guarded=True):
        """A disk, behind a guard that passes on no guest memory, or all of it where the test is
        about a device that uses it."""
        policy = "open" if "--dma" in arguments else "bounce"
        return harness.Device("blk", "--backend", f"file:{self.image}", *arguments,
                              directory=self.directory,
                              guard=policy if guarded else None)

    def boot(self, device, script, *arguments, kernel="6.1", module=True, status=0, timeout=180):
        """Runs the script in a VM that has the device, or none (None); its console, once its status
        is as given.

        The module is told to take packed rings too, so that the device chooses the format."""
        if module:
            arguments += ("--module", f"{harness.guest_module(kernel)},packed=1")
        script = "coldplug\n" + script
        if device:
            arguments += ("--vfio-user", device.socket)
        actual, console = harness.vm("--kernel", kernel, *arguments, script=script, timeout=timeout)
        log = "\n".join(device.log()) if device else ""
        self.assertEqual(actual, status, console[-4000:] + log)
        return console
