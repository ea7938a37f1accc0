# SPDX-License-Identifier: Apache-2.0
"""The other end of a network card, for tests: a host that speaks QEMU's stream netdev on a UNIX
socket, answers ARP and ping, and serves files over TFTP. It checks every checksum that it meets."""

import pathlib
import socket
import struct
import threading

ADDRESS = "10.7.0.1"
MAC = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
TFTP_PORT = 69
TRANSFER_PORT = 6969
RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6


def checksum(data):
    """RFC 1071, in host order; 0 for data that hold their own right one."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def udp_checksum(source, target, datagram):
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_UDP, len(datagram))
    return checksum(pseudo + datagram)


class Transfer:
    """One file on its way, a block at a time; either way. RFC 1350, 2347, 2348."""

    def __init__(self, size, content=None):
        self.size = size
        self.content = content  # to be sent; None: to be received
        self.received = bytearray()
        self.block = 0

    def data(self):
        at = (self.block - 1) * self.size
        return struct.pack("!HH", DATA, self.block & 0xffff) + self.content[at:at + self.size]

    def answer(self, packet):
        """What to say to a packet, or None."""
        code, block = struct.unpack("!HH", packet[:4])
        if self.content is not None and code == ACK and block == self.block & 0xffff:
            if self.block * self.size > len(self.content):
                return None  # that was the last one
            self.block += 1
            return self.data()
        if self.content is None and code == DATA:
            if block == (self.block + 1) & 0xffff:
                self.block += 1
                self.received += packet[4:]
            return struct.pack("!HH", ACK, self.block & 0xffff)
        return None


class NetPeer:
    """Listens at `path`. `files` are those to be had; those that come are in `arrived`."""

    def __init__(self, path, files):
        self.path = pathlib.Path(path)
        self.files = files
        self.arrived = {}
        self.bad_checksums = 0
        self.sources = set()  # MACs that frames came from
        self._transfer = None
        self._name = None
        self._connection = None
        self.come()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go()

    def come(self):
        """Listens: again, after go()."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def go(self):
        """Hangs up, and is not there any more."""
        self.path.unlink(missing_ok=True)
        for end in (self._listener, self._connection):
            try:
                if end:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with self._connection:
                self._talk(self._connection.makefile("rb"))

    def _talk(self, stream):
        try:
            while prefix := stream.read(4):
                for answer in self._answers(stream.read(struct.unpack("!I", prefix)[0])):
                    self._connection.sendall(struct.pack("!I", len(answer)) + answer)
        except OSError:
            pass  # they hung up

    def _answers(self, frame):
        source, kind, payload = frame[6:12], frame[12:14], frame[14:]
        self.sources.add(source)
        if kind == b"\x08\x06":
            answer = self._arp(source, payload)
        elif kind == b"\x08\x00":
            answer = self._ip(payload)
        else:
            answer = None
        return [source + MAC + kind + answer] if answer else []

    def _arp(self, source, packet):
        operation, sender, target = packet[6:8], packet[14:18], packet[24:28]
        own = socket.inet_aton(ADDRESS)
        if operation != b"\0\1" or target != own:
            return None
        return packet[:6] + b"\0\2" + MAC + own + source + sender

    def _ip(self, packet):
        header = (packet[0] & 15) * 4
        length = struct.unpack("!H", packet[2:4])[0]
        protocol, source, target = packet[9], packet[12:16], packet[16:20]
        body = packet[header:length]
        if target != socket.inet_aton(ADDRESS):
            return None
        self.bad_checksums += checksum(packet[:header]) != 0
        if protocol == socket.IPPROTO_ICMP:
            answer = self._icmp(body)
        elif protocol == socket.IPPROTO_UDP:
            self.bad_checksums += udp_checksum(source, target, body) != 0
            answer = self._udp(source, target, body)
        else:
            answer = None
        if answer is None:
            return None
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(answer), 0, 0, 64, protocol, 0,
                             target, source)
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + answer

    def _icmp(self, body):
        self.bad_checksums += checksum(body) != 0
        if body[0] != 8:
            return None
        answer = b"\0\0\0\0" + body[4:]
        return answer[:2] + struct.pack("!H", checksum(answer)) + answer[4:]

    def _udp(self, source, target, datagram):
        client, port = struct.unpack("!HH", datagram[:4])
        packet = datagram[8:]
        if port == TFTP_PORT:
            answer = self._request(packet)
        elif port == TRANSFER_PORT and self._transfer:
            answer = self._transfer.answer(packet)
            if self._transfer.content is None:
                self.arrived[self._name] = bytes(self._transfer.received)
        else:
            answer = None
        if answer is None:
            return None
        reply = struct.pack("!HHHH", TRANSFER_PORT, client, 8 + len(answer), 0) + answer
        summed = udp_checksum(target, source, reply) or 0xffff
        return reply[:6] + struct.pack("!H", summed) + reply[8:]

    def _request(self, packet):
        code = struct.unpack("!H", packet[:2])[0]
        words = packet[2:].split(b"\0")
        options = dict(zip(words[2::2], words[3::2]))
        size = int(options.get(b"blksize", b"512"))
        self._name = words[0].decode()
        if code == RRQ and self._name not in self.files:
            return struct.pack("!HH", ERROR, 1) + b"no such file\0"
        self._transfer = Transfer(size, self.files[self._name] if code == RRQ else None)
        if b"blksize" in options:
            return struct.pack("!H", OACK) + b"blksize\0%d\0" % size
        return self._transfer.answer(struct.pack("!HH", ACK, 0)) if code == RRQ else struct.pack(
            "!HH", ACK, 0)
