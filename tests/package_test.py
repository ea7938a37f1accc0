#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package of the guest module, in clean chroots of Debian 12 and 13.

Needs root, the network, tools/install-deps package, and about ten minutes: `./dev deb --test`. In a
VM: lab/setup, and the binary that AIRLOCK names."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import harness
from vm_case import VmTest

PACKAGES = harness.REPO / "build/packages"
MODULES = PACKAGES / "modules"  # KERNEL/virtio_pci_airlock.ko: what the chroots built, for the VM
MODULE = "virtio_pci_airlock"


def build(folder, **environment):
    """tools/build_deb into that folder; the path of the package."""
    words = [f"{name}={value}" for name, value in environment.items()]
    lines = harness.run("env", *words, harness.REPO / "tools/build_deb", folder).splitlines()
    return pathlib.Path(lines[-1])


class Chroot:
    """A clean Debian, which goes with `directory`."""

    def __init__(self, suite, directory):
        self.suite = suite
        self.root = pathlib.Path(directory) / suite
        harness.run(harness.REPO / "lab/chroot", "make", suite, self.root)

    def run(self, *command):
        return harness.run(harness.REPO / "lab/chroot", "run", self.root, *command)

    def install(self, *arguments):
        self.run("apt-get", "install", "--yes", "--quiet", *arguments)

    def kernels(self):
        return sorted(path.name for path in (self.root / "usr/lib/modules").iterdir())

    def newest(self, what, release):
        """What the metapackage of that release stands for, such as linux-image-6.1..."""
        text = self.run("apt-cache", "show", f"{what}-cloud-amd64/{release}")
        return re.search(rf"^Depends:.*?({what}-\d[^\s,]*)", text, re.MULTILINE).group(1)

    def modinfo(self, kernel, field):
        return self.run("modinfo", "-k", kernel, "-F", field, MODULE).strip()

    def initramfs(self, kernel):
        return self.run("lsinitramfs", f"/boot/initrd.img-{kernel}").split("\n")


class PackageTest:
    """From a bare system to a purged one. Each step needs the one before: one test a suite."""

    def setUp(self):
        self.deb = build(PACKAGES)
        temporary = tempfile.TemporaryDirectory(prefix="chroot-", dir=PACKAGES)
        self.addCleanup(temporary.cleanup)
        self.version = self.deb.name.split("_")[1]
        self.chroot = Chroot(self.suite, temporary.name)
        shutil.copy(self.deb, self.chroot.root / "root")

    def check_module(self, kernel):
        chroot = self.chroot
        self.assertIn(f"airlock/{self.version}, {kernel}, x86_64: installed",
                      chroot.run("dkms", "status").splitlines())
        self.assertIn(f"/{kernel}/updates/dkms/{MODULE}.ko", chroot.modinfo(kernel, "filename"))
        self.assertEqual(chroot.modinfo(kernel, "alias"), "pci:v00001AF4d*sv*sd*bc*sc*i*")
        self.assertEqual(chroot.modinfo(kernel, "vermagic").split()[0], kernel)
        self.assertEqual(chroot.modinfo(kernel, "version"), self.version)
        # Secure Boot: signed, and with the key that mokutil is to import.
        self.assertEqual(chroot.modinfo(kernel, "signer"), "DKMS module signing key")
        serial = chroot.run("openssl", "x509", "-inform", "DER", "-in", "/var/lib/dkms/mok.pub",
                            "-noout", "-serial").strip().split("=")[1]
        self.assertEqual(chroot.modinfo(kernel, "sig_key").replace(":", ""), serial)

    def check_initramfs(self, kernel):
        names = self.chroot.initramfs(kernel)
        self.assertEqual(1, sum(f"/updates/dkms/{MODULE}.ko" in name for name in names), names)
        self.assertIn("usr/lib/modprobe.d/airlock.conf", names)
        self.assertEqual(1, sum("/virtio_blk.ko" in name for name in names))
        order = self.chroot.run(
            "sh", "-c", f"rm -rf /tmp/i && unmkinitramfs /boot/initrd.img-{kernel} /tmp/i && "
            "cat $(find /tmp/i -path '*/init-top/ORDER')")
        scripts = re.findall(r"^/scripts/init-top/(\w+)", order, re.MULTILINE)
        self.assertLess(scripts.index("airlock"), scripts.index("udev"))

    def check_no_airlock(self, kernel):
        self.assertFalse([name for name in self.chroot.initramfs(kernel) if "airlock" in name])

    def check_kernel(self, kernel):
        self.check_module(kernel)
        self.check_initramfs(kernel)

    def keep_module(self, kernel):
        """What was built goes where the test in a VM finds it."""
        source = self.chroot.modinfo(kernel, "filename")
        target = MODULES / kernel / f"{MODULE}.ko"
        target.parent.mkdir(parents=True, exist_ok=True)
        reader = "xzcat" if source.endswith(".xz") else "cat"
        with open(target, "wb") as file:
            subprocess.run([reader, self.chroot.root / source.lstrip("/")], stdout=file, check=True)

    def install_at_once(self):
        """As on a bare system: apt chooses the order."""
        self.chroot.install(f"/root/{self.deb.name}", "linux-image-cloud-amd64",
                            "linux-headers-cloud-amd64", "initramfs-tools", "zstd")
        (kernel,) = self.chroot.kernels()
        self.check_kernel(kernel)
        self.keep_module(kernel)
        return kernel

    def headers_come_later(self):
        """The initramfs of a second kernel is there before its module can be built."""
        release = f"{self.suite}-backports"
        image = self.chroot.newest("linux-image", release)
        # apt likes to upgrade what belongs together at once.
        self.chroot.run("apt-mark", "hold", "linux-headers-cloud-amd64")
        self.chroot.install("-t", release, image)
        self.chroot.run("apt-mark", "unhold", "linux-headers-cloud-amd64")
        kernel = image.removeprefix("linux-image-")
        self.assertFalse([name for name in self.chroot.initramfs(kernel) if f"{MODULE}.ko" in name])
        self.chroot.install("-t", release, self.chroot.newest("linux-headers", release))
        self.check_kernel(kernel)
        return kernel

    def reinstall(self, kernels):
        self.chroot.install("--reinstall", f"/root/{self.deb.name}")
        for kernel in kernels:
            self.check_initramfs(kernel)

    def skip_what_lacks_virtio(self, kernel):
        """DKMS leaves such a kernel out."""
        headers = f"/usr/src/linux-headers-{kernel}"
        self.chroot.run("sed", "-i", "/^CONFIG_VIRTIO_PCI_LIB=/d", f"{headers}/.config",
                        f"{headers}/include/config/auto.conf")
        self.chroot.run("dkms", "unbuild", f"airlock/{self.version}", "-k", kernel)
        said = self.chroot.run(
            "sh", "-c", f"/etc/kernel/header_postinst.d/dkms {kernel} 2>&1; echo status $?")
        self.assertIn(f"status {self.status_of_a_skip}\n", said)
        self.assertIn("BUILD_EXCLUSIVE", said)
        self.assertNotIn(kernel, self.chroot.run("dkms", "status"))

    def purge(self, kernels):
        self.chroot.run("apt-get", "purge", "--yes", "--quiet", "airlock-dkms")
        self.assertEqual("", self.chroot.run("dkms", "status").strip())
        for kernel in kernels:
            self.check_no_airlock(kernel)
        left = self.chroot.run("find", "/", "-xdev", "-iname", "*airlock*", "-not", "-path",
                               "/root/*", "-not", "-path", "/tmp/*")
        self.assertEqual("", left)

    def install_from_source(self, kernel):
        """What kernel/README.md says for those who want no package."""
        source = self.chroot.root / "root/airlock"
        for name in ("kernel", "src/core"):
            shutil.copytree(harness.REPO / name, source / name)
        shutil.copy(harness.REPO / "CMakeLists.txt", source)
        make = ("make", "--silent", "-C", "/root/airlock/kernel")
        self.chroot.run(*make, f"KDIR=/lib/modules/{kernel}/build")
        self.assertTrue((source / f"kernel/{MODULE}.ko").exists())
        self.chroot.run(*make, "dkms-tree", "install-boot")
        self.chroot.run("dkms", "install", f"airlock/{self.version}", "-k", kernel)
        self.check_kernel(kernel)

    def test_from_a_bare_system_to_a_purged_one(self):
        kernels = [self.install_at_once(), self.headers_come_later()]
        self.reinstall(kernels)
        self.skip_what_lacks_virtio(kernels[1])
        self.purge(kernels)
        self.install_from_source(kernels[0])


class Debian12(PackageTest, unittest.TestCase):
    suite = "bookworm"
    status_of_a_skip = 11  # this DKMS thinks that it failed; no kernel of Debian 12 comes to that


class Debian13(PackageTest, unittest.TestCase):
    suite = "trixie"
    status_of_a_skip = 0

    def test_dracut(self):
        self.chroot.install(f"/root/{self.deb.name}", "linux-image-cloud-amd64",
                            "linux-headers-cloud-amd64", "dracut", "systemd-sysv", "zstd")
        (kernel,) = self.chroot.kernels()
        self.check_module(kernel)
        text = self.chroot.run("lsinitrd", f"/boot/initrd.img-{kernel}")
        self.assertIn(f"/updates/dkms/{MODULE}.ko", text)
        self.assertIn("/pre-udev/10-airlock-load.sh", text)
        self.assertIn("usr/lib/modprobe.d/airlock.conf", text)


class File(unittest.TestCase):
    """The package itself."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-package-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def test_is_reproducible(self):
        one = build(self.directory / "one", TZ="UTC", SOURCE_DATE_EPOCH="1700000000")
        two = build(self.directory / "two", TZ="Asia/Tokyo", SOURCE_DATE_EPOCH="1700000000",
                    LC_ALL="C", DEB_BUILD_OPTIONS="parallel=2")
        self.assertEqual(harness.sha256(one), harness.sha256(two))
        later = build(self.directory / "three", SOURCE_DATE_EPOCH="1700000001")
        self.assertNotEqual(harness.sha256(one), harness.sha256(later))

    def test_lintian_has_nothing_to_say(self):
        deb = build(self.directory / "deb")
        said = harness.run("lintian", "--allow-root", "--fail-on", "error,warning,info",
                           "--display-info", deb)
        self.assertEqual("", said)


class InVm(VmTest):
    """The modules that the chroots built, where the lab has the very same kernel."""

    def test_packaged_modules_drive_a_disk(self):
        driven = []
        for release in sorted((harness.REPO / "build/lab/kernels").glob("*/release")):
            module = MODULES / release.read_text().strip() / f"{MODULE}.ko"
            if not module.exists():
                continue
            with self.subTest(module), self.device() as device:
                console = self.boot(
                    device, "wait-for /dev/vda; dd if=/dev/vda of=/dev/null bs=1M count=8; "
                    "cd /sys/bus/pci/devices; echo @@DRIVER $(basename $(readlink *10.0/driver))@@",
                    "--module", module, kernel=release.parent.name, module=False)
                self.assertEqual([MODULE], harness.said(console, "DRIVER"))
            driven.append(release.parent.name)
        if not driven:
            self.skipTest("nothing built for the lab's kernels: lab/setup, or run Debian12 first")


if __name__ == "__main__":
    unittest.main(verbosity=2)
