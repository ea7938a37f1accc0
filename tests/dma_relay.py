# SPDX-License-Identifier: Apache-2.0
"""Stands between a VMM and a device process and passes everything on: it sees what a device is
given of guest memory, and does what the device could do with it if it were not honest."""

import array
import mmap
import os
import re
import socket
import struct
import threading

HEADER = struct.Struct("<HHIII")  # id, command, size of the message, flags, error
DMA_MAP, DMA_UNMAP, DMA_READ = 2, 3, 11
MAP = struct.Struct("<IIQQQ")  # argsz, flags, offset in the file, address, size
UNMAP = struct.Struct("<IIQQ")  # argsz, flags, address, size
UNMAP_ALL = 2
ACCESS = struct.Struct("<QQ")  # address, count
TYPE, REPLY, ERROR = 0xf, 1, 0x20  # bits of the flags
FDS_MAX = 16
PIECE = 64 << 10  # what QEMU answers whole
ANSWER_SECONDS = 30
PAGE = 4096


def receive(sock, size):
    data = bytearray()
    while len(data) < size:
        block = sock.recv(size - len(data))
        if not block:
            raise EOFError
        data += block
    return bytes(data)


def receive_message(sock):
    """(header fields, all bytes, descriptors) of the next message; EOFError at the end."""
    space = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)
    data, ancillary, _, _ = sock.recvmsg(HEADER.size, space)
    if not data:
        raise EOFError
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    data += receive(sock, HEADER.size - len(data))
    fields = HEADER.unpack(data)
    return fields, data + receive(sock, fields[2] - HEADER.size), list(fds)


def shut_down(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is gone already


class Relay:
    """One VMM, one device. Use as a context manager; the VMM connects to `socket`.

    `maps` is what the device may reach now, address -> size; `mapped` the sizes of all that it ever
    was given, in order. `file` is a descriptor of guest memory, the one of the largest file that
    came with a mapping. All of them change while the VM runs."""

    def __init__(self, path, device):
        self.socket = path
        self.maps, self.mapped, self.file = {}, [], None
        self.fds_received = 0
        self._device = device
        self._listener = socket.socket(socket.AF_UNIX)
        self._vmm = None
        self._to_vmm = threading.Lock()
        self._answer = threading.Condition()
        self._answers, self._next = {}, 0
        self._threads = []

    def __enter__(self):
        self._listener.bind(str(self.socket))
        self._listener.listen(1)
        self._start(self._serve)
        return self

    def __exit__(self, *_):
        # Whoever waits in a thread finds an end: nobody connects, or nobody writes any more.
        shut_down(self._listener)
        if self._vmm is not None:
            shut_down(self._vmm)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        if self.file is not None:
            os.close(self.file)

    def _start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self):
        try:
            self._vmm, _ = self._listener.accept()
        except OSError:
            return
        with socket.socket(socket.AF_UNIX) as device, self._vmm:
            device.connect(str(self._device))
            back = threading.Thread(target=self._pass_on, args=(device, self._vmm, self._to_vmm))
            back.start()
            self._pass_on(self._vmm, device, threading.Lock(), self._note)
            back.join()

    def _pass_on(self, source, target, lock, note=None):
        """Until one of the two ends goes; then the other hears of it."""
        try:
            while True:
                fields, data, fds = receive_message(source)
                if note is None or note(fields, data, fds):
                    with lock:
                        socket.send_fds(target, [data[:HEADER.size]], fds)
                        target.sendall(data[HEADER.size:])
                for fd in fds:
                    os.close(fd)
        except (EOFError, ConnectionError):
            pass
        shut_down(source)
        shut_down(target)

    def _note(self, fields, data, fds):
        """Of a message of the VMM's: what it says of memory. Whether it is the device's."""
        number, command, _, flags, _ = fields
        if flags & TYPE == REPLY:
            with self._answer:
                self._answers[number] = (flags & ERROR, data[HEADER.size:])
                self._answer.notify_all()
            return False
        if command == DMA_MAP:
            _, _, _, address, size = MAP.unpack_from(data, HEADER.size)
            self.maps[address] = size
            self.mapped.append(size)
            self.fds_received += len(fds)
            for fd in fds:
                self._keep_larger(fd)
        elif command == DMA_UNMAP:
            _, flags, address, size = UNMAP.unpack_from(data, HEADER.size)
            for start in [start for start in self.maps
                          if flags == UNMAP_ALL or address <= start < address + size]:
                del self.maps[start]
        return True

    def _keep_larger(self, fd):
        if self.file is None or os.fstat(fd).st_size > os.fstat(self.file).st_size:
            old, self.file = self.file, os.dup(fd)
            if old is not None:
                os.close(old)

    def count_in_file(self, pattern):
        """Occurrences of `pattern` in all of the file that came with a mapping; None: none came."""
        if self.file is None:
            return None
        with mmap.mmap(self.file, 0, prot=mmap.PROT_READ) as memory:
            return sum(1 for _ in re.finditer(re.escape(pattern), memory))

    def read(self, address, count):
        """What the VMM reads for the device (DMA_READ); None where it refuses."""
        with self._answer:
            self._next = (self._next + 1) % (1 << 16)
            number = self._next
        request = ACCESS.pack(address, count)
        with self._to_vmm:
            self._vmm.sendall(HEADER.pack(number, DMA_READ, HEADER.size + len(request), 0, 0)
                              + request)
        with self._answer:
            if not self._answer.wait_for(lambda: number in self._answers, ANSWER_SECONDS):
                raise AssertionError(f"no answer to DMA_READ of {address:#x}")
            failed, payload = self._answers.pop(number)
        return None if failed else payload[ACCESS.size:]

    def samples(self, first, end):
        """Of each MiB in [first, end) the first bytes, where the VMM reads them."""
        for address in range(first, end, 1 << 20):
            data = self.read(address, PIECE)
            if data is not None:
                yield data
