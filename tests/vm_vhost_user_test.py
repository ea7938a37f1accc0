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


FS_KILLS = int(os.environ.get("AIRLOCK_KILLS", "12"))

# One writes whole files under a temporary name, moves them, and says their sums; one appends a line
# at a time to a file that it keeps open. What fails is counted, and ends neither.
FS_LOAD = """
mkdir /shared
mount -t virtiofs share /shared
mkdir /shared/whole
echo 0 >/tmp/errors
echo 0 >/tmp/files
failed() { echo "@@FAILED $*@@"; echo $(($(cat /tmp/errors) + 1)) >/tmp/errors; }
files() {
  cd /shared
  n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    dd if=/dev/urandom of=/tmp/data bs=64k count=4 2>/dev/null
    dd if=/tmp/data of=part-$n bs=16k conv=fsync 2>/dev/null || failed write $n
    mv part-$n whole/file-$n || failed move $n
    cmp /tmp/data whole/file-$n || failed compare $n
    ls -l whole >/dev/null || failed list $n
    echo "file-$n $(sha256sum </tmp/data | cut -d' ' -f1)" >>/tmp/sums
    echo $n >/tmp/files.new
    mv /tmp/files.new /tmp/files
  done
}
lines() {
  exec 9>/shared/held
  n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    echo $n >&9 || failed line $n
  done
  echo "@@WRITTEN $n@@"
}
files &
one=$!
lines &
other=$!
for i in $(seq $kills); do
  before=$(cat /tmp/files)
  while [ "$(cat /tmp/files)" -le $((before + 1)) ]; do sleep 0.05; done
  host restart
done
before=$(cat /tmp/files)
while [ "$(cat /tmp/files)" -le $((before + 1)) ]; do sleep 0.05; done
touch /tmp/stop
wait $one $other
sync
echo 3 >/proc/sys/vm/drop_caches
while read -r name sum; do
  [ "$(sha256sum </shared/whole/$name | cut -d' ' -f1)" = $sum ] || failed sum $name
  echo "@@SUM $name $sum@@"
done </tmp/sums
echo "@@FILES $(cat /tmp/files)@@"
echo "@@LINES $(wc -l </shared/held)@@"
echo "@@ERRORS $(cat /tmp/errors)@@"
umount /shared
"""


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
        self.check_memory((REGION, RINGS))


    def serve_share(self, *options, meanwhile="true"):
        """A virtiofsd, and the --on argument by which the guest has it killed and another started:
        `meanwhile` a command is run."""
        share, socket = self.directory / "share", self.directory / "fsd.sock"
        share.mkdir()
        log, pid = self.directory / "fsd.log", self.directory / "fsd.pid"
        start = shlex.join(map(str, (
            harness.REPO / "lab/trixie", TRIXIE / "usr/libexec/virtiofsd", "--socket-path", socket,
            "--shared-dir", share, "--sandbox", "none", "--cache", "auto", *options)))
        start = f"rm -f {socket}; {start} >/dev/null 2>>{log} </dev/null & echo $! >{pid}"
        kill = f"kill -9 $(cat {pid}); "
        harness.run("sh", "-c", start)
        self.addCleanup(harness.run, "sh", "-c", kill + "true")
        while not socket.exists():  # until it is connected to
            threading.Event().wait(0.01)
        return share, Gateway("fs", socket, "--tag", "share", directory=self.directory), (
            "--on", f"restart={kill}cd {share}; {meanwhile}; {start}")

    # virtiofsd killed while files are written, read, made and moved: the mount stays, an open file
    # stays open, what was written is there, each byte once.
    def test_kills_lose_and_duplicate_nothing(self):
        share, gateway, restart = self.serve_share()
        with gateway:
            console = self.boot_with(gateway, f"kills={FS_KILLS}\n" + FS_LOAD, *restart,
                                     timeout=600)
        log = (self.directory / "fsd.log").read_text()
        self.assertEqual(harness.said(console, "ERRORS"), ["0"], log)
        self.assertEqual(harness.said(console, "LINES"), harness.said(console, "WRITTEN"))
        files = int(harness.said(console, "FILES")[0])
        self.assertGreater(files, FS_KILLS)
        sums = sorted(line.split() for line in harness.said(console, "SUM"))
        self.assertEqual(len(sums), files)
        for name, digest in sums:
            self.assertEqual(harness.sha256(share / "whole" / name), digest, name)
        self.assertEqual(len(list((share / "whole").iterdir())), files)
        held = (share / "held").read_text().splitlines()
        self.assertEqual(held, [str(i) for i in range(1, len(held) + 1)])
        self.assertEqual(gateway.stats()["backend"]["losses"], FS_KILLS)

    # What has no name any more, or another one by the host's doing, is stale; names are found anew,
    # and nothing hangs.
    def test_what_the_next_one_cannot_find_is_stale(self):
        share, gateway, restart = self.serve_share(meanwhile="mv dir moved")
        with gateway:
            console = self.boot_with(gateway, """
mkdir /shared
mount -t virtiofs share /shared
cd /shared
mkdir dir
echo one >dir/file
echo two >kept
echo gone >gone
exec 7<kept 8<dir/file 9<gone
rm gone
host restart
echo 3 >/proc/sys/vm/drop_caches
cat <&9 && echo "@@READ a file that is not there@@"
echo "@@MOVED $(cat moved/file)@@"
cat dir/file && echo "@@READ a file that was moved@@"
echo three >new
echo "@@NEW $(cat new) $(cat kept)@@"
cd /
exec 7<&- 8<&- 9<&-
umount /shared
""", *restart, timeout=400)
        self.assertEqual(harness.said(console, "READ"), [])
        self.assertEqual(harness.said(console, "MOVED"), ["one"])
        self.assertEqual(harness.said(console, "NEW"), ["three two"])
        self.assertEqual((share / "new").read_text(), "three\n")
        self.assertEqual(gateway.stats()["backend"]["losses"], 1)

    # A session that can't be handed on ends, and says so; the next mount is a new one.
    def test_a_session_that_ends_is_mounted_again(self):
        share, gateway, restart = self.serve_share("--xattr", "--posix-acl")
        with gateway:
            console = self.boot_with(gateway, """
mkdir /shared
mount -t virtiofs share /shared
echo one >/shared/file
exec 9</shared/file
host restart
cat /shared/other 2>/tmp/said && echo "@@READ a session that ended@@"
echo "@@ERROR $(cat /tmp/said)@@"
exec 9<&-
umount /shared
mount -t virtiofs share /shared
echo "@@AGAIN $(cat /shared/file)@@"
umount /shared
""", *restart, timeout=400)
        self.assertEqual(harness.said(console, "READ"), [])
        self.assertIn("not connected", harness.said(console, "ERROR")[0])
        self.assertEqual(harness.said(console, "AGAIN"), ["one"])
        self.assertTrue([line for line in gateway.log() if "session ended" in line])
        self.assertEqual((share / "file").read_text(), "one\n")


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
    # download, the next one does the same: only the connection was in its memory. A page comes
    # between two kills: a passt that the gateway had not found yet would not be missed.
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
for i in 1 2 3; do
  host restart
  until wget -q -T 5 -O /dev/null $page; do :; done
done
kill $load
wget -q -T 20 -O /tmp/again $page
echo "@@SUM $(sha256sum </tmp/again | cut -d' ' -f1)@@"
""", "--on", self.looked(self.passt_pid()), "--on", restart, timeout=400)
        self.assertEqual(harness.said(console, "MAC"), ["52:54:00:12:34:56"])
        self.assertEqual(harness.said(console, "SUM"), [hashlib.sha256(page).hexdigest()] * 2)
        self.check_memory()
        stats = gateway.stats()
        self.assertEqual(stats["backend"]["losses"], 3)
        self.assertGreater(stats["wake_ups"], 0)  # its rings are looked at here, too


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
