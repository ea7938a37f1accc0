# SPDX-License-Identifier: Apache-2.0
"""What tests and ./run share: a device process, a disk image with real files, a VM.

Every process started here is ended here, and nothing is left outside the directory given."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import audit

REPO = pathlib.Path(__file__).resolve().parent.parent
AIRLOCK = pathlib.Path(os.environ.get("AIRLOCK", REPO / "build/debug/bin/airlock"))
THREAD_SANITIZER = os.environ.get("AIRLOCK_SANITIZE") == "thread"
# How long a process at rest runs in the time that settle() looks at it: TSan's own thread wakes up.
QUIET_NS = 5_000_000 if THREAD_SANITIZER else 0
SECTOR = 512


class Process:
    """One airlock process that logs to stderr. As a context it is entered once it says that it is
    READY, and ended at the end."""

    READY = ""

    def __init__(self, *words):
        self.lines = []
        self._new_line = threading.Condition()
        self.process = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._new_line:
                self.lines.append(line.rstrip("\n"))
                self._new_line.notify_all()
        with self._new_line:
            self.lines.append(None)  # the end
            self._new_line.notify_all()

    def wait_for_line(self, text, timeout=20):
        """The first log line that contains `text`."""
        def found():
            return [line for line in self.lines if line is None or text in line]
        with self._new_line:
            if not self._new_line.wait_for(found, timeout):
                raise AssertionError(f"no line with {text!r} in {self.lines}")
            line = found()[0]
        if line is None:
            raise AssertionError(f"the process ended without a line with {text!r}: {self.lines}")
        return line

    def start(self):
        """Waits until others can use it."""
        self.wait_for_line(self.READY)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        return [line for line in self.lines if line is not None]

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """Ends it as a service manager would; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return status


class Guard(Process):
    """One `airlock guard` process in front of a device: what a VM connects to."""

    READY = "guarding"

    def __init__(self, socket, audit_file, *arguments):
        self.audit_file = pathlib.Path(audit_file)
        super().__init__(AIRLOCK, "guard", "--listen", socket, "--audit", audit_file, *arguments)

    def audit(self):
        """What it has written down so far, an object a line."""
        return [json.loads(line) for line in self.audit_file.read_text().splitlines()]

    def counters(self):
        """Of the last VM that has gone: message -> decision -> how often."""
        return [entry["counters"] for entry in self.audit() if "counters" in entry][-1]


class Device(Process):
    """One `airlock serve ...` process, ready to be attached to. Use as a context manager.

    `guard`: a policy; then a guard stands in front of it, and `socket` is the guard's."""

    READY = "serving"

    def __init__(self, *arguments, directory, name="blk", prefix=(), guard=None):
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / f"{name}.sock"
        self.own_socket = self.directory / f"{name}.device.sock" if guard else self.socket
        self.stats_file = self.directory / f"{name}.stats.json"
        self.guard = None
        self._guard = (self.socket, self.directory / f"{name}.audit", "--connect", self.own_socket,
                       "--policy", guard) if guard else None
        super().__init__(*prefix, AIRLOCK, "serve", *arguments, "--socket", self.own_socket,
                         "--stats", self.stats_file)

    def start(self):
        super().start()
        if self._guard:
            self.guard = Guard(*self._guard).__enter__()

    def settle(self):
        """Waits until the process has done nothing for a while; how long it ever ran, in ns."""
        return settle(self.pid)

    def wait_for_cpu(self):
        """Waits until the process has work."""
        before = cpu_ns(self.pid)
        while cpu_ns(self.pid) < before + 5_000_000:
            if self.process.poll() is not None:
                raise AssertionError(f"the device ended: {self.log()}")
            threading.Event().wait(0.01)

    def stop(self):
        """Ends the guard, if there is one, and the device; the exit status of what failed."""
        guard, self.guard = self.guard, None
        status = guard.stop() if guard else 0
        return super().stop() or status

    def stats(self):
        """The counters, which the device writes when it ends."""
        return json.loads(self.stats_file.read_text())


def of_threads(pid, name):
    """The text of /proc/PID/task/*/NAME of each thread that is there: one may end meanwhile."""
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        try:
            yield (task / name).read_text()
        except (FileNotFoundError, ProcessLookupError):
            pass


def cpu_ns(pid):
    """How long all threads ran so far, in nanoseconds: a sleeping process does not."""
    return sum(int(text.split()[0]) for text in of_threads(pid, "schedstat"))


def switches(pid):
    """How often all threads were switched to or from so far: not at all while they sleep."""
    return sum(int(line.split()[1])
               for text in of_threads(pid, "status")
               for line in text.splitlines() if "ctxt_switches" in line)


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def family(pid):
    """A process and all that it has started, and those, and so on."""
    try:
        children = [child for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                    for child in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [pid] + [one for child in children for one in family(int(child))]


def private_bytes(pid, besides):
    """Memory that this process alone has: all its mappings, but those of the file `besides`."""
    counted, kilobytes = True, 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counted = besides not in line
        elif counted and line.startswith("Private_"):
            kilobytes += int(line.split()[1])
    return kilobytes << 10


def threads_at_work(pid, name):
    """How many threads whose name begins so have run for some milliseconds."""
    return sum((task / "comm").read_text().startswith(name)
               and int((task / "schedstat").read_text().split()[0]) > 5_000_000
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def settle(pid):
    """Waits until a process has done nothing for a while; how long it ever ran, in ns."""
    before, now = None, cpu_ns(pid)
    while before is None or now - before > QUIET_NS:
        before = now
        threading.Event().wait(0.2)  # the observation window, not a delay for something
        now = cpu_ns(pid)
    return before


def airlock(*arguments, check=True, **options):
    """Runs one airlock command to its end."""
    done = subprocess.run([str(AIRLOCK), *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=options.pop("timeout", 300), **options)
    if check and done.returncode != 0:
        raise AssertionError(f"airlock {arguments}: status {done.returncode}: {done.stderr}")
    return done


def run(*command, **options):
    """Runs a host tool; its output. Raises with the tool's own words where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def small_file_system(test, size):
    """A folder that holds no more than `size`, such as 8m, until the test is over."""
    folder = test.directory / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    test.addCleanup(run, "umount", folder)
    return folder


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def source_files():
    """This project's own files: what git tracks; without git, all but build products."""
    try:
        names = run("git", "-C", REPO, "ls-files", "-z", "--recurse-submodules").split("\0")
    except (RuntimeError, FileNotFoundError):
        names = [str(path.relative_to(REPO)) for path in REPO.rglob("*")
                 if path.relative_to(REPO).parts[0] not in ("build", ".git")]
    return sorted(name for name in names if name and (REPO / name).is_file())


def make_ext4(image, size_bytes, directory):
    """An image with an ext4 file system that holds the project's files; name -> sha256."""
    sums = {}
    with tempfile.TemporaryDirectory(dir=directory) as staging:
        root = pathlib.Path(staging)
        for name in source_files():
            target = root / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPO / name, target)
            sums[f"tree/{name}"] = sha256(target)
        listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        (root / "SHA256SUMS").write_text(listing)
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        run("mkfs.ext4", "-q", "-F", "-L", "airlock", "-d", root, image)
    return sums


def read_from_ext4(image, name, target):
    """Copies one file out of an unmounted ext4 image."""
    run("debugfs", "-R", f"dump /{name} {target}", image)


def check_ext4(image):
    """e2fsck -fn: raises unless the file system is clean."""
    return run("e2fsck", "-fn", image)


def vm(*arguments, script, timeout=180):
    """Boots the lab's VM; (exit status of the guest's commands, console)."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [sys.executable, str(REPO / "lab/vm"), *map(str, arguments), "--timeout", str(timeout),
             "--script", file.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=timeout + 60)
    return done.returncode, done.stdout


def said(console, word):
    """What the guest said with @@WORD ...@@, once or several times."""
    return re.findall(rf"@@{word} (.*?)@@", console)


def view_is_inside(view):
    """Whether all that a device was let at lies in its region: `view` of its counters says where
    the driver put every ring, and the extent of all rings, tables and buffers."""
    first, end = view["region_first"], view["region_first"] + view["region_bytes"]
    rings = [queue[f"{area}_area"] for queue in view["queues"]
             for area in ("descriptor", "driver", "device")]
    return (bool(rings) and all(first <= at < end for at in rings)
            and first <= view["touched_first"] < view["touched_end"] <= end)


def guest_module(kernel="6.1"):
    """The guest transport for a kernel of the lab, built if it is not there."""
    run(REPO / "lab/build-module", kernel)
    return REPO / f"build/lab/modules/{kernel}/virtio_pci_airlock.ko"
