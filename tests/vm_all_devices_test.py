# SPDX-License-Identifier: Apache-2.0
"""One guest with a stock kernel and one of each: disk, network, vsock, console, entropy and a
shared folder, all of them through regions, none with a view of the guest.

AIRLOCK_VSOCK_BYTES: how much the vsock echoes each way (8 MiB; without KVM a guest is slow).
Needs the lab (lab/setup) and the binary that AIRLOCK names."""

import hashlib
import http.server
import json
import os
import re
import secrets
import socket
import sys
import threading
import unittest

import harness
import vm_vsock_test
from vm_case import VmTest
from vm_vhost_user_test import RINGS, Gateway
from vm_vsock_test import BYTES, Host

KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.12")
TRIXIE = harness.REPO / "build/lab/trixie"
REGION = "/memfd:airlock-region (deleted)"
PAGE_BYTES = 4 << 20
FOLDER_BYTES = 16 << 20
PASSWORD = "open-sesame"
SECRET_BYTES = 32 << 20

GUEST = r"""
set -e
# A secret that no device is given.
mount -t tmpfs -o size=40m tmpfs /mnt
yes {key} | head -c {secret_bytes} >/mnt/secret

# The console: whoever comes has to log in.
mkdir -p /root /etc
echo 'root:{hashed}:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
echo hvc0 >/etc/securetty
wait-for /dev/hvc0
getty 0 hvc0 linux & getty=$!

# The folder.
mkdir /shared
mount -t virtiofs share /shared
cp /shared/package /tmp/package
cp /tmp/package /shared/copy
mv /shared/copy /shared/renamed
chmod 640 /shared/renamed
echo "@@PACKAGE $(sha256sum </tmp/package | cut -d' ' -f1)@@"
rm /tmp/package

# The network.
ip link set lo up
ip address add 192.0.2.2/24 dev eth0
ip link set eth0 up
wget -q -O /tmp/page http://192.0.2.1:{port}/page
echo "@@PAGE $(sha256sum </tmp/page | cut -d' ' -f1)@@"

# The disk, and all of it at once: copied from the network's page, read while the vsock is busy.
wait-for /dev/vda
vsock serve 6000 1 stream & serve=$!
vsock check 5000 {vsock_bytes} stream & check=$!
dd if=/tmp/page of=/dev/vda bs=64k 2>/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
echo "@@DISK $(head -c {page_bytes} /dev/vda | sha256sum | cut -d' ' -f1)@@"

# Entropy.
echo "@@RNG $(cat /sys/class/misc/hw_random/rng_current)@@"
first=$(head -c 64 /dev/hwrng | sha256sum)
test "$first" != "$(head -c 64 /dev/hwrng | sha256sum)"

wait $check
wait $serve
while [ ! -e /tmp/logged-in ]; do usleep 100000; done
host look
umount /shared
test "$(head -c {key_bytes} /mnt/secret)" = {key}
kill $getty 2>/dev/null || true
if dmesg | grep -iE 'airlock.*(refused|in use)'; then exit 1; fi
"""


class Login:
    """Somebody at the console: logs in, has something computed, and leaves."""

    def __init__(self, path):
        self.seen = b""
        self.error = None
        self._path = str(path)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            with socket.socket(socket.AF_UNIX) as self._peer:
                self._peer.settimeout(240)
                self._peer.connect(self._path)
                self._type(b"\n")
                self._answer(rb"login: $", b"root\n")
                self._answer(rb"[Pp]assword: $", PASSWORD.encode() + b"\n")
                self._answer(rb"# $", b"echo sum-$((6 * 7)); echo done >/tmp/logged-in\n")
                self._await(rb"sum-42")
        except (OSError, AssertionError) as error:
            self.error = repr(error)

    def _type(self, text):
        self._peer.sendall(text)

    def _await(self, pattern):
        while not re.search(pattern, self.seen):
            some = self._peer.recv(4096)
            if not some:
                raise AssertionError(f"the console ended: {self.seen[-500:]}")
            self.seen += some

    def _answer(self, pattern, text):
        self._await(pattern)
        self.seen = b""
        self._type(text)

    def join(self):
        self._thread.join(60)
        return self.error


class AllDevices(VmTest):
    def page_server(self, page):
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_port

    def backend(self, path, *words):
        """A backend that makes a socket at `path`."""
        backend = harness.Process(harness.REPO / "lab/trixie", *words)
        self.addCleanup(backend.stop)
        while not path.exists():
            self.assertIsNone(backend.process.poll(), backend.log())
            threading.Event().wait(0.01)
        return backend

    def serve(self, kind, *arguments):
        return self.enterContext(harness.Device(kind, *arguments, directory=self.directory,
                                                name=kind, guard="bounce"))

    def look(self, processes, key):
        """The --on argument by which the guest has the memory of all of them looked at."""
        python = f"{sys.executable} {harness.REPO}/tests"
        base = self.directory
        steps = [f"{python}/memory_scan.py {process.pid} {key.hex()} >{base}/{name}.scan; "
                 f"{python}/audit.py {process.pid} >{base}/{name}.memory"
                 for name, process in processes.items()]
        return "look=" + "; ".join(steps)

    # T1, with one of each attached: the secret of the first slice, and each device at work.
    def test_each_works_and_none_sees_the_guest(self):
        page, package = os.urandom(PAGE_BYTES), os.urandom(FOLDER_BYTES)
        port = self.page_server(page)
        share = self.directory / "share"
        share.mkdir()
        (share / "package").write_bytes(package)
        fs_socket, passt_socket = self.directory / "fs.backend", self.directory / "passt.sock"
        virtiofsd = self.backend(fs_socket, TRIXIE / "usr/libexec/virtiofsd", "--socket-path",
                                 fs_socket, "--shared-dir", share, "--sandbox", "none")
        passt = self.backend(passt_socket, "passt", "--foreground", "--socket", passt_socket,
                             "--address", "192.0.2.2", "--gateway", "192.0.2.1",
                             "--map-host-loopback", "192.0.2.1", "--ipv4-only", "--runas", "0")
        uds, console_socket = self.directory / "vsock", self.directory / "console"
        host = Host(uds)
        host.listen(5000)
        devices = {
            "blk": self.serve("blk", "--backend", f"file:{self.image}"),
            "net": self.serve("net", "--backend", f"passt:{passt_socket}"),
            "vsock": self.serve("vsock", "--uds", uds),
            "console": self.serve("console", "--backend", f"socket:{console_socket}"),
            "rng": self.serve("rng"),
            "fs": self.enterContext(Gateway("fs", fs_socket, "--tag", "share",
                                            directory=self.directory))}
        host.start(host.check, 6000, BYTES)
        login = Login(console_socket)
        key = secrets.token_hex(16).encode()
        hashed = harness.run("openssl", "passwd", "-6", PASSWORD).strip()
        processes = devices | {"virtiofsd": virtiofsd, "passt": passt}
        console = self.boot(
            None, GUEST.format(key=key.decode(), key_bytes=len(key), secret_bytes=SECRET_BYTES,
                               hashed=hashed, port=port, vsock_bytes=BYTES,
                               page_bytes=PAGE_BYTES),
            *[word for device in devices.values() for word in ("--vfio-user", device.socket)],
            "--program", f"{vm_vsock_test.Echo.program}:vsock", "--on", self.look(processes, key),
            # A busy host holds the guest up: its clock is not to run ahead, nor a watchdog to bark.
            "--append", "tsc=unstable nowatchdog", kernel=KERNEL, timeout=400 + BYTES // 100000)
        self.assertIsNone(login.join(), console[-3000:])
        host.join()
        self.assertEqual(host.errors, [])
        for device in devices.values():
            self.assertEqual(device.stop(), 0)

        self.assertEqual(harness.said(console, "PAGE"), [hashlib.sha256(page).hexdigest()])
        self.assertEqual(harness.said(console, "DISK"), [hashlib.sha256(page).hexdigest()])
        self.assertEqual(harness.said(console, "PACKAGE"), [hashlib.sha256(package).hexdigest()])
        self.assertEqual((share / "renamed").read_bytes(), package)
        self.assertEqual((share / "renamed").stat().st_mode & 0o777, 0o640)
        self.assertIn("virtio_rng", harness.said(console, "RNG")[0])
        for name in processes:
            with self.subTest(name):
                self.assertEqual(int((self.directory / f"{name}.scan").read_text()), 0)
                report = json.loads((self.directory / f"{name}.memory").read_text())
                # The rings of tracked queues are shared with the gateway, not with the VM.
                rings = {RINGS} if name in ("fs", "virtiofsd") else set()
                shared = report["shared_with_vmm"]
                self.assertLessEqual(set(shared), {REGION} | rings)
                self.assertEqual(report["guest_ram_mapped_bytes"],
                                 sum(shared.get(file, 0) for file in rings))
        for name in devices:
            self.assertEqual(devices[name].stats()["violations"], 0, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
