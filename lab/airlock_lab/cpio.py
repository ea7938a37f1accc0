# SPDX-License-Identifier: Apache-2.0
"""Writes cpio archives of the kind that Linux unpacks as an initramfs ("newc")."""

import stat


class Archive:
    """Collects entries in memory. Paths are absolute in the guest; parents are made as needed."""

    def __init__(self):
        self._parts = []
        self._paths = {"/"}
        self._inode = 0

    def folder(self, path):
        if path in self._paths:
            return
        self._parent(path)
        self._entry(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path, data, mode=0o644):
        self._parent(path)
        self._entry(path, stat.S_IFREG | mode, data)

    def copy(self, path, source):
        """Adds a file of this machine, with its permission bits."""
        self.file(path, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def link(self, path, target):
        self._parent(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor):
        self._parent(path)
        self._entry(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def bytes(self):
        """The archive; several, one after the other, are again an initramfs."""
        trailer = self._header("TRAILER!!!", 0, b"", (0, 0), 0)
        data = b"".join(self._parts) + trailer
        return data + b"\0" * (-len(data) % 512)

    def _parent(self, path):
        parent = path.rpartition("/")[0] or "/"
        self.folder(parent)

    def _entry(self, path, mode, data, device=(0, 0)):
        self._inode += 1
        self._paths.add(path)
        self._parts.append(self._header(path.lstrip("/"), mode, data, device, self._inode))
        self._parts.append(data + b"\0" * (-len(data) % 4))

    @staticmethod
    def _header(name, mode, data, device, inode):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        return head + b"\0" * (-len(head) % 4)
