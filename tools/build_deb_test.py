#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of what tools/build_deb packs: the DKMS tree and what goes into the initramfs. Without
Debian's tools; tests/package_test.py installs the package itself."""

import pathlib
import re
import subprocess
import tempfile
import unittest

REPO = pathlib.Path(__file__).resolve().parent.parent
KERNEL = REPO / "kernel"


def make(*arguments):
    return subprocess.run(["make", "--silent", "-C", KERNEL, *arguments], check=False,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)


class Tree(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.tree = pathlib.Path(holder.name) / "tree"
        made = make("dkms-tree", f"TREE={self.tree}")
        self.assertEqual(0, made.returncode, made.stderr)

    def test_includes_stay_inside(self):
        sources = [*self.tree.glob("*.[ch]"), *self.tree.glob("core/*.h")]
        self.assertTrue(sources)
        for source in sources:
            for name in re.findall(r'^#include "(.*)"', source.read_text(), re.MULTILINE):
                self.assertTrue((self.tree / name).exists(), f"{source.name} includes {name}")

    def test_every_source_of_the_module_is_there(self):
        self.assertEqual({path.name for path in KERNEL.glob("*.[ch]")},
                         {path.name for path in self.tree.glob("*.[ch]")})
        objects = re.findall(r"\b(airlock_\w+)\.o\b", (self.tree / "Kbuild").read_text())
        self.assertIn("airlock_pci", objects)
        for name in objects:
            self.assertTrue((self.tree / f"{name}.c").exists(), name)

    def test_version_is_that_of_the_project(self):
        version = re.search(r"^project\(airlock VERSION ([\d.]+)",
                            (REPO / "CMakeLists.txt").read_text(), re.MULTILINE).group(1)
        self.assertIn(f'PACKAGE_VERSION="{version}"\n', (self.tree / "dkms.conf").read_text())

    def test_dkms_finds_what_its_configuration_names(self):
        words = dict(re.findall(r'^(\w+)(?:\[0\])?="(.*)"$', (self.tree / "dkms.conf").read_text(),
                                re.MULTILINE))
        self.assertIn(f"obj-m := {words['BUILT_MODULE_NAME']}.o\n",
                      (self.tree / "Kbuild").read_text())
        script = self.tree / words["POST_INSTALL"].split()[0]
        self.assertTrue(script.stat().st_mode & 0o100, f"{script} is not executable")

    def test_makes_itself_again(self):
        """The Debian package is made from such a tree, where there is no src/core."""
        again = self.tree.parent / "again"
        for name in ("boot", "dkms.conf"):
            subprocess.run(["cp", "-R", KERNEL / name, self.tree], check=True)
        command = ["make", "--silent", "-C", self.tree, "dkms-tree", f"TREE={again}"]
        self.assertNotEqual(0, subprocess.run(command, check=False, capture_output=True).returncode,
                            "without a version")
        subprocess.run([*command, "AIRLOCK_VERSION=1.2.3"], check=True)
        self.assertEqual({path.name for path in (REPO / "src/core").glob("*.h")},
                         {path.name for path in (again / "core").glob("*")})
        self.assertIn('PACKAGE_VERSION="1.2.3"\n', (again / "dkms.conf").read_text())


class Boot(unittest.TestCase):
    def test_files_go_where_programs_look(self):
        with tempfile.TemporaryDirectory() as root:
            made = make("install-boot", f"DESTDIR={root}")
            self.assertEqual(0, made.returncode, made.stderr)
            files = {str(path.relative_to(root)) for path in pathlib.Path(root).rglob("*")
                     if path.is_file()}
            self.assertEqual(files, {
                "usr/lib/modprobe.d/airlock.conf",
                "usr/share/initramfs-tools/hooks/airlock",
                "usr/share/initramfs-tools/scripts/init-top/airlock",
                "usr/lib/dracut/modules.d/90airlock/module-setup.sh",
                "usr/lib/dracut/modules.d/90airlock/airlock-load.sh",
            })

    def test_scripts_that_want_nothing_say_so(self):
        """initramfs-tools asks each script for what has to run before it."""
        for name in ("initramfs-hook", "initramfs-init-top"):
            done = subprocess.run(["sh", KERNEL / "boot" / name, "prereqs"], check=False,
                                  capture_output=True, text=True)
            self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr), name)

    def test_kernel_without_an_initramfs_is_left_alone(self):
        done = subprocess.run([KERNEL / "boot/refresh-initramfs", "0.0.0-none"], check=False,
                              capture_output=True, text=True)
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))


if __name__ == "__main__":
    unittest.main()
