# SPDX-License-Identifier: Apache-2.0
"""A small client of NBD, for tests: one request at a time, and nothing that the server must refuse
is held back. The protocol is the fixed newstyle with simple replies."""

import itertools
import os
import socket
import struct

FLAGS = {"read_only": 1, "flush": 2, "fua": 3, "trim": 5, "zero": 6, "multi_conn": 8}
FUA, NO_HOLE = 1 << 0, 1 << 1

_OPTION_MAGIC = 0x49484156454F5054
_OPTION_REPLY = 0x3E889045565A9
_GO, _ACK, _INFO = 7, 1, 3
_REQUEST, _REPLY = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _ZERO = 0, 1, 2, 3, 4, 6


class Client:
    """A connection to the default export at a UNIX socket. Errors of requests are OSErrors."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._cookies = itertools.count(1)
        self.size = self.block_bytes = 0
        self.flags = set()
        magic, option, _ = struct.unpack(">8sQH", self._take(18))
        if (magic, option) != (b"NBDMAGIC", _OPTION_MAGIC):
            raise AssertionError("it does not speak NBD")
        wanted = struct.pack(">IHH", 0, 1, _INFO)  # the default export, and its block sizes
        self._socket.sendall(struct.pack(">IQII", 3, _OPTION_MAGIC, _GO, len(wanted)) + wanted)
        while self._take_option_reply() != _ACK:
            pass

    def _take_option_reply(self):
        magic, option, kind, length = struct.unpack(">QIII", self._take(20))
        data = self._take(length)
        if magic != _OPTION_REPLY or option != _GO or kind not in (_ACK, _INFO):
            raise AssertionError(f"an answer of kind {kind:#x} to a wish for the export: {data}")
        if kind == _INFO and data[:2] == bytes(2):
            _, self.size, flags = struct.unpack(">HQH", data)
            self.flags = {name for name, bit in FLAGS.items() if flags >> bit & 1}
        elif kind == _INFO and data[:2] == struct.pack(">H", _INFO):
            self.block_bytes = struct.unpack(">HIII", data)[1]
        return kind

    def _take(self, length):
        parts = []
        while length:
            part = self._socket.recv(length)
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _request(self, command, offset=0, length=0, data=b"", flags=0):
        cookie = next(self._cookies)
        head = struct.pack(">IHHQQI", _REQUEST, flags, command, cookie, offset, length or len(data))
        self._socket.sendall(head + data)
        magic, error, answered = struct.unpack(">IIQ", self._take(16))
        if (magic, answered) != (_REPLY, cookie):
            raise AssertionError("that is no answer to what was asked")
        if error:
            raise OSError(error, os.strerror(error))
        return self._take(length) if command == _READ else None

    def read(self, length, offset):
        return self._request(_READ, offset, length)

    def write(self, data, offset, flags=0):
        self._request(_WRITE, offset, data=data, flags=flags)

    def flush(self):
        self._request(_FLUSH)

    def trim(self, length, offset):
        self._request(_TRIM, offset, length)

    def zero(self, length, offset, flags=0):
        self._request(_ZERO, offset, length, flags=flags)

    def close(self):
        """Ends the connection as the protocol wants it."""
        self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, _DISCONNECT, 0, 0, 0))
        self.leave()

    def leave(self):
        """Ends it without a word."""
        self._socket.close()
