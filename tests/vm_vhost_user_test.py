# SPDX-License-Identifier: Apache-2.0
"""Real vhost-user backends behind our buffer, in a VM that gives no memory away: virtiofsd,
qemu-storage-daemon and passt, each unmodified from Debian, and nothing of the VM's mapped in it.

Needs the lab (lab/setup) and the binary that AIRLOCK names."""

import hashlib
import http.server
import json
import os
import shlex
import signal
import sys
import threading
import unittest

import harness
from vm_case import VmTest

KERNEL = os.environ.get("AIRLOCK_KERNEL", "6.12")
TRIXIE = harness.REPO / "build/lab/trixie"
REGION = "/memfd:airlock-region (deleted)"
RINGS = "/memfd:airlock-rings (deleted)"


class Gateway(harness.Device):
    """`airlock serve vhost-user` in front of a backend."""

    def __init__(self, device, backend_socket, *arguments, directory):
        super().__init__("vhost-user", "--device", device, "--backend-socket", backend_socket,
                         *arguments, directory=directory, name=device)


class VhostUser(VmTest):
    def start(self, *words):
        """A backend that listens on the socket it is given; ended with the test."""
        backend = harness.Process(*words)
        self.addCleanup(backend.stop)
        return backend

    def wait_for_socket(self, backend, path):
        while not path.exists():
            self.assertIsNone(backend.process.poll(), backend.log())
            threading.Event().wait(0.01)

    def looked(self, pid):
        """The --on argument by which the guest has the backend's memory looked at."""
        return (f"look=grep -E ' [r-][w-][x-]s ' /proc/{pid}/maps >{self.directory}/maps; "
                f"{sys.executable} {harness.REPO}/tests/audit.py {pid} "
                f">{self.directory}/audit")

    def check_memory(self, only=(REGION,)):
        """The backend mapped the region and, of the VM, nothing else."""
        shared = {line.split(maxsplit=5)[5]
                  for line in (self.directory / "maps").read_text().splitlines()}
        self.assertIn(REGION, shared)
        # io_uring is between the backend and its own kernel.
        self.assertLessEqual(shared - {"anon_inode:[io_uring]"}, set(only))
        report = json.loads((self.directory / "audit").read_text())
        # The rings of tracked queues are shared with the gateway, not with the VM.
        with_gateway = sum(report["shared_with_vmm"].get(name, 0) for name in only if name == RINGS)
        self.assertEqual(report["guest_ram_mapped_bytes"], with_gateway)

    def boot_with(self, gateway, script, *arguments, **options):
        console = self.boot(gateway, script, *arguments, kernel=KERNEL, **options)
        self.assertEqual(gateway.stop(), 0)
        return console


class Fs(VhostUser):
    # A folder of the host: files made on either side are the same on the other.
    def test_a_folder_is_shared(self):
        share, socket = self.directory / "share", self.directory / "fsd.sock"
        share.mkdir()
        (share / "from-host").write_bytes(os.urandom(3 << 20))
        backend = self.start(harness.REPO / "lab/trixie", TRIXIE / "usr/libexec/virtiofsd",
                             "--socket-path", socket, "--shared-dir", share, "--sandbox", "none",
                             "--cache", "auto")
        self.wait_for_socket(backend, socket)
        with Gateway("fs", socket, "--tag", "share", directory=self.directory) as gateway:
            console = self.boot_with(gateway, """
mkdir /shared
mount -t virtiofs share /shared
echo "@@SUM $(sha256sum </shared/from-host | cut -d' ' -f1)@@"
cd /shared
mkdir -p tree/deep
echo hello >tree/deep/first
mv tree/deep/first tree/renamed
ln -s renamed tree/link
chmod 640 tree/renamed
test "$(cat tree/link)" = hello
test "$(stat -c %a tree/renamed)" = 640
dd if=/dev/urandom of=large bs=1M count=24 2>/dev/null
i=0
while [ $i -lt 200 ]; do echo $i >tree/file-$i; i=$((i + 1)); done
rm tree/file-7
sync
echo 3 >/proc/sys/vm/drop_caches
echo "@@LARGE $(sha256sum <large | cut -d' ' -f1)@@"
echo "@@FILES $(ls tree | wc -l)@@"
host look
cd /
umount /shared
""", "--on", self.looked(backend.pid), timeout=400)
        self.assertEqual(harness.said(console, "SUM"), [harness.sha256(share / "from-host")])
        self.assertEqual(harness.said(console, "LARGE"), [harness.sha256(share / "large")])
        self.assertEqual((share / "large").stat().st_size, 24 << 20)
        self.assertEqual((share / "tree/renamed").read_text(), "hello\n")
        self.assertEqual((share / "tree/renamed").stat().st_mode & 0o777, 0o640)
        self.assertEqual(os.readlink(share / "tree/link"), "renamed")
        files = len(list((share / "tree").iterdir()))
        self.assertEqual(harness.said(console, "FILES"), [str(files)])
        self.assertEqual((share / "tree/file-199").read_text(), "199\n")
        self.check_memory()


class Net(VhostUser):
    def passt(self, socket):
        """The command that starts it: it goes into the background when its socket is there."""
        return (str(harness.REPO / "lab/trixie"), "passt", "--vhost-user", "--quiet",
                "--socket", str(socket), "--pid", str(self.directory / "passt.pid"),
                "--address", "192.0.2.2", "--gateway", "192.0.2.1",
                "--map-host-loopback", "192.0.2.1", "--ipv4-only", "--runas", "0")

    def passt_pid(self):
        return int((self.directory / "passt.pid").read_text())

    def serve(self, page):
        """A server on this host's loopback; its port."""
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        server.handle_error = lambda *_: None  # a connection that died with its passt
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_port

    # passt takes a page from a server on the host's loopback into the VM; killed in the middle of a
    # download, the next one does the same: only the connection was in its memory.
    def test_the_guest_reaches_the_host(self):
        page = os.urandom(5 << 20)
        port, socket = self.serve(page), self.directory / "passt.sock"
        harness.run(*self.passt(socket))
        self.addCleanup(lambda: os.kill(self.passt_pid(), signal.SIGKILL))
        restart = (f"restart=kill -9 $(cat {self.directory}/passt.pid); rm -f {socket}; "
                   + shlex.join(self.passt(socket)))
        with Gateway("net", socket, "--mac", "52:54:00:12:34:56",
                     directory=self.directory) as gateway:
            console = self.boot_with(gateway, f"""
modprobe virtio_net
for i in 1 2 3 4 5 6 7 8 9 10; do ls /sys/class/net | grep -v lo && break; sleep 1; done
name=$(ls /sys/class/net | grep -v lo | head -n 1)
echo "@@MAC $(cat /sys/class/net/$name/address)@@"
ip address add 192.0.2.2/24 dev $name
ip link set $name up
page=http://192.0.2.1:{port}/page
wget -q -O /tmp/page $page
echo "@@SUM $(sha256sum </tmp/page | cut -d' ' -f1)@@"
host look
while true; do wget -q -T 5 -O /dev/null $page || true; done &
load=$!
host restart
host restart
host restart
kill $load
wget -q -T 20 -O /tmp/again $page
echo "@@SUM $(sha256sum </tmp/again | cut -d' ' -f1)@@"
""", "--on", self.looked(self.passt_pid()), "--on", restart, timeout=400)
        self.assertEqual(harness.said(console, "MAC"), ["52:54:00:12:34:56"])
        self.assertEqual(harness.said(console, "SUM"), [hashlib.sha256(page).hexdigest()] * 2)
        self.check_memory()
        self.assertEqual(gateway.stats()["backend"]["losses"], 3)


class Blk(VhostUser):
    # A qcow2 image, by a program that knows what that is.
    def test_a_qcow2_disk(self):
        image, socket = self.directory / "disk.qcow2", self.directory / "qsd.sock"
        harness.run(harness.REPO / "lab/trixie", "qemu-img", "create", "-f", "qcow2", image, "128M")
        backend = self.start(
            harness.REPO / "lab/trixie", "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=file,filename={image}",
            "--blockdev", "driver=qcow2,node-name=disk,file=file",
            "--export", "type=vhost-user-blk,id=export,node-name=disk,writable=on,"
            f"addr.type=unix,addr.path={socket}")
        self.wait_for_socket(backend, socket)
        with Gateway("blk", socket, directory=self.directory) as gateway:
            self.boot_with(gateway, """
wait-for /dev/vda
fio --name=verify --filename=/dev/vda --rw=randwrite --bsrange=4k-128k --size=24M --iodepth=8 \
  --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --output=/dev/null
mkfs.ext2 -q /dev/vda 2>/dev/null || mke2fs -q /dev/vda
host look
""", "--on", self.looked(backend.pid), "--with", "fio", timeout=400)
        self.check_memory((REGION, RINGS))
        backend.stop()
        harness.run(harness.REPO / "lab/trixie", "qemu-img", "check", image)


if __name__ == "__main__":
    unittest.main(verbosity=2)
