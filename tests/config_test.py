# SPDX-License-Identifier: Apache-2.0
"""airlock serve --config: several devices in one process, and what SIGHUP makes of a new file."""

import json
import signal
import subprocess
import threading
import unittest

import harness
from process_case import ProcessTest

# Enough to be at work while the file is read again.
TOTAL = "8M" if harness.THREAD_SANITIZER else "256M"


class Served(harness.Process):
    """One `airlock serve --config`. Use as a context manager."""

    READY = "serving"

    def __init__(self, file):
        self.file = file
        super().__init__(harness.AIRLOCK, "serve", "--config", file)

    def start(self):
        super().start()
        # Who keeps a socket says so by its name, a moment after it was made.
        devices = self.file.read_text().count("[[device]]")
        while self.keepers() < devices:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended: {self.log()}")
            threading.Event().wait(0.01)

    def keepers(self):
        return sum(harness.name_of(pid) == "socket-keeper" for pid in harness.family(self.pid))

    def reload(self):
        """Has the file read again; the line that says what came of it."""
        before = len(self.reloads())
        self.process.send_signal(signal.SIGHUP)
        while len(self.reloads()) == before:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended: {self.log()}")
            threading.Event().wait(0.01)
        return self.reloads()[-1]

    def reloads(self):
        return [line for line in self.log() if "reload: " in line]

    def processes(self):
        """Those that serve: the process itself and those that keep sockets do not."""
        return [pid for pid in harness.family(self.pid)
                if pid != self.pid and harness.name_of(pid) == "airlock"]


class ConfigTest(ProcessTest):
    def setUp(self):
        super().setUp()
        self.config = self.directory / "airlock.toml"

    def write(self, *devices, top=""):
        """A device is a dict of its keys; strings are quoted as TOML and JSON both do."""
        lines = [top]
        for device in devices:
            lines.append("[[device]]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in device.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def disk(self, name, **keys):
        return {"type": "blk", "socket": str(self.directory / f"{name}.sock"),
                "backend": "memory:8M", "region": "8M", **keys}

    def verify(self, name):
        harness.airlock("blk", "verify", "--device", f"vfio-user:{self.directory}/{name}.sock",
                        "--total", "4M")

    def socket_of(self, name):
        return self.directory / f"{name}.sock"


class Devices(ConfigTest):
    def test_several_in_one_process(self):
        self.write(self.disk("a"), self.disk("b", queues=2), self.disk("c", readonly=True))
        with Served(self.config) as served:
            self.assertEqual(len(served.processes()), 1)
            work = [threading.Thread(target=self.verify, args=(name,)) for name in "ab"]
            for one in work:
                one.start()
            for one in work:
                one.join()
            info = harness.airlock("blk", "info", "--device",
                                   f"vfio-user:{self.socket_of('c')}").stdout
            self.assertRegex(info, "read_only +true")
            served.wait_for_line("sandbox: ")
            self.assertEqual(served.stop(), 0)
        self.assertFalse(list(self.directory.glob("*.sock")))

    def test_they_sleep_while_nobody_asks(self):
        self.write(self.disk("a"), self.disk("b"))
        with Served(self.config) as served:
            self.verify("a")
            self.assert_asleep(served.pid)

    def test_each_has_its_counters(self):
        files = {name: self.directory / f"{name}.json" for name in "ab"}
        self.write(*(self.disk(name, stats=str(file)) for name, file in files.items()))
        with Served(self.config) as served:
            self.verify("a")
            self.assertEqual(served.stop(), 0)
        counters = {name: json.loads(file.read_text()) for name, file in files.items()}
        self.assertGreater(counters["a"]["bytes_written"], 0)
        self.assertEqual(counters["b"]["bytes_written"], 0)

    def test_a_killed_supervisor_leaves_nobody(self):
        self.write(self.disk("a"))
        with Served(self.config) as served:
            family = harness.family(served.pid)
            served.process.kill()
            served.process.wait()
            for pid in family:
                while harness.family(pid):
                    threading.Event().wait(0.01)

    def test_a_killed_process_is_the_end_of_all(self):
        self.write(self.disk("a"), self.disk("b"))
        with Served(self.config) as served:
            served.reload()  # answered once all are served
            subprocess.run(["kill", "-9", str(served.processes()[0])], check=True)
            self.assertEqual(served.process.wait(20), 1)
            served.wait_for_line("a process with devices ended unasked")


class Reload(ConfigTest):
    def test_new_ones_start_old_ones_end_and_others_go_on(self):
        self.write(self.disk("stays"), self.disk("goes"), self.disk("changes"))
        with Served(self.config) as served:
            with subprocess.Popen(
                    [str(harness.AIRLOCK), "blk", "verify", "--device",
                     f"vfio-user:{self.socket_of('stays')}", "--total", TOTAL],
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as work:
                self.write(self.disk("comes"), self.disk("changes", readonly=True),
                           self.disk("stays"))
                self.assertIn("2 devices ended, 2 started, 3 in all", served.reload())
                self.assertFalse(self.socket_of("goes").exists())
                self.verify("comes")
                info = harness.airlock("blk", "info", "--device",
                                       f"vfio-user:{self.socket_of('changes')}").stdout
                self.assertRegex(info, "read_only +true")
                self.assertEqual(work.wait(120), 0, work.stderr.read())
            self.assertEqual(len(served.processes()), 2)
            # The last device of a process ends it.
            self.write(self.disk("stays"))
            self.assertIn("2 devices ended, 0 started, 1 in all", served.reload())
            while len(served.processes()) > 1:
                threading.Event().wait(0.01)
            self.verify("stays")
            self.assertEqual(served.stop(), 0)
        self.assertFalse(list(self.directory.glob("*.sock")))

    def test_a_wrong_file_changes_nothing(self):
        self.write(self.disk("a"))
        with Served(self.config) as served:
            self.write(self.disk("a", queues=2), self.disk("b", regoin="1M"))
            line = served.reload()
            self.assertIn("regoin: blk has no such option", line)
            self.assertIn("nothing has changed", line)
            self.config.unlink()
            self.assertIn("nothing has changed", served.reload())
            self.verify("a")
            self.assertEqual(len(served.processes()), 1)

    def test_a_device_that_cannot_be_opened_is_said(self):
        self.write(self.disk("a"))
        with Served(self.config) as served:
            self.write(self.disk("a"), self.disk("b", backend="file:/nowhere/disk.img"))
            line = served.reload()
            self.assertIn("1 could not be started", line)
            self.assertIn("/nowhere/disk.img", line)
            self.verify("a")
            self.write(self.disk("a"), self.disk("b"))
            self.assertIn("1 started", served.reload())
            self.verify("b")

    def test_the_same_file_changes_nothing(self):
        self.write(self.disk("a"))
        with Served(self.config) as served:
            before = served.processes()
            self.assertIn("0 devices ended, 0 started, 1 in all", served.reload())
            self.assertEqual(served.processes(), before)


class SharedRegion(ConfigTest):
    """Devices that name one region. That they work in it together: examples/net_to_disk."""

    def test_it_is_said_what_is_given_up(self):
        self.write(self.disk("a", region="shared:both,8M"), self.disk("b", region="shared:both,8M"),
                   self.disk("c"))
        with Served(self.config) as served:
            line = served.wait_for_line("region shared:both: ")
            for said in "a.sock", "b.sock", "can each read and change what either is given":
                self.assertIn(said, line)
            self.assertNotIn("c.sock", line)
            self.verify("a")  # the one is at work while nobody uses the other
            self.verify("c")
            self.assertEqual(served.stop(), 0)

    def test_a_device_that_comes_later_is_refused(self):
        first = self.disk("a", region="shared:both,8M")
        self.write(first)
        with Served(self.config) as served:
            self.write(first, self.disk("b", region="shared:both,8M"))
            line = served.reload()
            self.assertIn("airlock.toml:7: region: a process that runs has shared:both", line)
            self.assertIn("nothing has changed", line)
            self.verify("a")
            # Changed together they start together.
            self.write({**first, "queues": 2}, self.disk("b", region="shared:both,8M"))
            self.assertIn("1 devices ended, 2 started, 2 in all", served.reload())
            served.wait_for_line("can each read and change")
            self.assertEqual(served.stop(), 0)

    def test_sizes_that_differ_are_refused(self):
        self.write(self.disk("a", region="shared:both,8M"), self.disk("b", region="shared:both"))
        self.refused("serve", "--config", self.config, status=2,
                     says="--region shared:both: it is 64M here, and 8M for blk on ")

    def test_one_device_alone_is_refused(self):
        self.refused("serve", "blk", "--socket", self.socket, "--backend", "memory:8M", "--region",
                     "shared:both", status=2, says="this process has no other device")


class BadInput(ConfigTest):
    def refuses(self, says, status=2):
        return self.refused("serve", "--config", self.config, status=status, says=says)

    def test_files_that_are_none(self):
        self.refuses("No such file or directory", status=1)
        self.config.write_text("[[device]\n")
        self.refuses("airlock.toml:1: ")

    def test_words_that_are_wrong(self):
        self.write(self.disk("a", queue_size=4))
        self.refuses("airlock.toml:7: queue_size: blk has no such option")
        self.write(self.disk("a", backend="floppy:"))
        self.refuses("there is no backend of this kind", status=1)

    def test_both_and_neither(self):
        self.refused("serve", status=2, says="it needs a kind of device, or --config FILE")
        self.refused("serve", "--config", self.config, "blk", "--backend", "memory:1M", "--socket",
                     self.socket, status=2, says="it needs a kind of device, or --config FILE")


if __name__ == "__main__":
    unittest.main()
