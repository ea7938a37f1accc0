# SPDX-License-Identifier: Apache-2.0
"""Builds the guest's initramfs: busybox, kernel modules, programs, and what one run adds.

The large parts are cached by content in build/lab/cache; an initramfs is their concatenation.
"""

import hashlib
import lzma
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from .cpio import Archive
from .places import CACHE, SOURCE, TRIXIE, LabError

# What a guest has without being asked; a kernel may have any of it built in, or not at all.
MODULES = (
    "virtio_pci virtio_blk virtio_net virtio_console virtio_rng virtio_scsi virtiofs "
    "vmw_vsock_virtio_transport ext4 crc32c_generic crc32c_intel af_packet nbd ublk_drv tun loop "
    "uio_pci_generic vfio_pci sd_mod"
).split()

UNUSED_CACHE_DAYS = 14


def build(kernel, options, script):
    """Returns the whole initramfs as bytes. `options` is what the command line of lab/vm gave."""
    own = [OwnModule(text) for text in options.module]
    names = MODULES + options.guest_module + [dep for module in own for dep in module.depends]
    parts = [_base(), _modules(kernel, names, options.guest_module)]
    programs = [Program.of_trixie(name) for name in options.with_program]
    programs += [Program.of_host(text) for text in options.program]
    parts += [program.archive() for program in programs]
    parts.append(_run(options.file, own, script))
    return b"".join(parts)


def _base():
    busybox = TRIXIE / "usr/bin/busybox"
    guest = sorted((SOURCE / "guest").iterdir())
    return _cached("base", [busybox, *guest], [], lambda: _make_base(busybox, guest))


def _make_base(busybox, guest):
    archive = Archive()
    for path in "/dev /proc /sys /run /tmp /root /mnt /etc /sbin /usr/bin /lab/modules".split():
        archive.folder(path)
    archive.character_device("/dev/console", 5, 1)
    archive.copy("/bin/busybox", busybox)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            archive.link(f"/bin/{applet}", "busybox")
    archive.link("/sbin/modprobe", "/bin/busybox")  # the kernel calls it by this path
    for script in guest:
        archive.copy("/init" if script.name == "init" else f"/lab/bin/{script.name}", script)
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("/etc/group", b"root:x:0:\n")
    return archive.bytes()


def _normal(name):
    return name.replace("-", "_")


def _module_name(path):
    return _normal(path.rpartition("/")[2].partition(".ko")[0])


def _modules(kernel, names, required):
    dep_file = kernel.modules / "modules.dep"
    key = [kernel.release, *sorted({_normal(name) for name in names})]
    return _cached("modules", [dep_file], key, lambda: _make_modules(kernel, names, required))


def _make_modules(kernel, names, required):
    depends = {}
    paths = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, deps = line.partition(":")
        depends[path] = deps.split()
        paths[_module_name(path)] = path
    builtin = {_module_name(p) for p in (kernel.modules / "modules.builtin").read_text().split()}
    chosen = {}
    for name in map(_normal, names):
        if name in paths:
            for path in (paths[name], *depends[paths[name]]):
                chosen[path] = depends[path]
        elif name in map(_normal, required) and name not in builtin:
            raise LabError(f"module {name}", f"Linux {kernel.release} has none", "check its name")
    archive = Archive()
    root = f"/lib/modules/{kernel.release}"
    for path in chosen:
        data = (kernel.modules / path).read_bytes()
        data = lzma.decompress(data) if path.endswith(".xz") else data
        archive.file(f"{root}/{path.removesuffix('.xz')}", data)
    plain = [" ".join([f"{path}:", *deps]) for path, deps in chosen.items()]
    archive.file(f"{root}/modules.dep", "\n".join([*plain, ""]).replace(".ko.xz", ".ko").encode())
    have = {_module_name(path) for path in chosen}
    for table, column in (("modules.alias", 2), ("modules.softdep", 1)):
        lines = (kernel.modules / table).read_text().splitlines(keepends=True)
        kept = [x for x in lines if len(x.split()) > column and _normal(x.split()[column]) in have]
        archive.file(f"{root}/{table}", "".join(kept).encode())
    archive.copy(f"{root}/modules.builtin", kernel.modules / "modules.builtin")
    return archive.bytes()


class OwnModule:
    """A module given by --module PATH.ko[,PARAMETER=VALUE]..."""

    def __init__(self, text):
        path, *self.parameters = text.split(",")
        self.name = os.path.basename(path)
        try:
            with open(path, "rb") as file:
                self.data = file.read()
        except OSError as error:
            raise LabError(f"module {path}", error.strerror, "run lab/build-module") from None
        found = re.search(rb"\0depends=([^\0]*)\0", self.data)
        if not found:
            raise LabError(f"module {path}", "it is no kernel module", "give the .ko file")
        self.depends = [dep for dep in found.group(1).decode().split(",") if dep]


class Program:
    """An ELF program with the libraries it needs, in a folder of its own in the guest.

    Each has its own dynamic linker and libraries, so programs of this machine and of the lab's
    Debian live side by side.
    """

    def __init__(self, name, binary, list_command):
        self.name = name
        self.binary = binary
        self._list_command = list_command

    @classmethod
    def of_trixie(cls, name):
        for folder in ("usr/bin", "usr/sbin"):
            binary = TRIXIE / folder / name
            if binary.is_file():
                libraries = TRIXIE / "usr/lib/x86_64-linux-gnu"
                linker = TRIXIE / "usr/lib64/ld-linux-x86-64.so.2"
                path = f"{libraries}:{libraries}/ceph"
                return cls(name, binary, [linker, "--library-path", path, "--list", binary])
        raise LabError(f"program {name}", f"not in {TRIXIE}", "run lab/setup --package PACKAGE")

    @classmethod
    def of_host(cls, text):
        path, _, name = text.partition(":")
        if not os.access(path, os.X_OK):
            raise LabError(f"program {path}", "not there, or not executable", "build it first")
        return cls(name or os.path.basename(path), Path(path).resolve(), ["ldd", path])

    def archive(self):
        """The part of the initramfs that holds this program, from the cache if it is there."""
        libraries = self._libraries()
        return _cached("program", [self.binary, *libraries], [self.name],
                       lambda: self._make(libraries))

    def _libraries(self):
        run = subprocess.run(self._list_command, capture_output=True, text=True, check=False)
        if "not found" in run.stdout:
            raise LabError(f"program {self.name}", "a library is missing", "check it with ldd")
        if run.returncode != 0:
            return []  # static
        found = re.findall(r"(?:=> |^\s+)(/\S+)", run.stdout, re.MULTILINE)
        return [Path(path) for path in found]

    def _make(self, libraries):
        archive = Archive()
        home = f"/lab/programs/{self.name}"
        archive.file(f"{home}/{self.name}", self.binary.read_bytes(), 0o755)
        linker = ""
        for library in libraries:
            archive.file(f"{home}/lib/{library.name}", library.read_bytes(), 0o755)
            if library.name.startswith("ld-linux"):
                linker = f'{home}/lib/{library.name} --library-path {home}/lib --argv0 "$0" '
        wrapper = f'#!/bin/sh\nexec {linker}{home}/{self.name} "$@"\n'
        archive.file(f"/lab/bin/{self.name}", wrapper.encode(), 0o755)
        return archive.bytes()


def _run(files, own, script):
    archive = Archive()
    for text in files:
        source, _, target = text.rpartition(":")
        if not source or not target.startswith("/"):
            raise LabError(f"--file {text}", "not HOST:/GUEST", "see lab/vm --help", 2)
        try:
            archive.copy(target, Path(source))
        except OSError as error:
            raise LabError(f"file {source}", error.strerror, "check the path") from None
    for module in own:
        archive.file(f"/lab/modules/{module.name}", module.data)
        parameters = " ".join(module.parameters)
        archive.file(f"/lab/modules/{module.name}.parameters", parameters.encode())
    lines = [" ".join([module.name, *module.depends]) + "\n" for module in own]
    archive.file("/lab/modules/list", "".join(lines).encode())
    archive.file("/lab/script", script.encode())
    return archive.bytes()


def _cached(kind, sources, key, make):
    """make()'s bytes, from the cache if `sources` and `key` are what they were."""
    digest = hashlib.sha256(repr(key).encode())
    for path in (*sources, SOURCE / "airlock_lab/initramfs.py"):
        status = path.stat()
        digest.update(f"\n{path} {status.st_size} {status.st_mtime_ns}".encode())
    cached = CACHE / f"{kind}-{digest.hexdigest()[:24]}.cpio"
    try:
        data = cached.read_bytes()
        os.utime(cached)
        return data
    except OSError:
        pass  # not there, or not ours to touch
    data = make()
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=CACHE, prefix=".", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o644)
        os.replace(file.name, cached)
        _forget_unused()
    except PermissionError:
        pass  # a cache made by another user: do without
    return data


def _forget_unused():
    limit = time.time() - UNUSED_CACHE_DAYS * 86400
    for path in CACHE.glob("*.cpio"):
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
        except OSError:
            pass  # another run was faster
