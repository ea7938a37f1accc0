# SPDX-License-Identifier: Apache-2.0
"""What it costs to have a disk that nobody uses: no wake-up of any process, and little memory.

Method. By counting, not by a clock. Who sleeps all through a window of time is switched to not
once, and the kernel counts how often each thread is. It counts the pages of a process as well."""

import contextlib
import os
import signal
import subprocess
import threading
import unittest

import harness
from process_case import ProcessTest

MIB = 1 << 20
SANITIZE = os.environ.get("AIRLOCK_SANITIZE")


class Driver:
    """Our driver, at rest with a disk that it has used: it waits for more to write."""

    def __init__(self, socket, *arguments):
        self.process = subprocess.Popen(
            [str(harness.AIRLOCK), "blk", "write", "--device", f"vfio-user:{socket}",
             "--input", "-", *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def __enter__(self):
        self.process.stdin.write(bytes(4 * MIB))
        self.process.stdin.flush()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    @property
    def pid(self):
        return self.process.pid


class IdleTest(ProcessTest):
    def wait_for_data(self):
        """Until the driver's bytes have reached the image: everything has been at work."""
        while not os.stat(self.image).st_blocks:
            threading.Event().wait(0.01)


@unittest.skipIf(SANITIZE == "thread", "TSan's own thread wakes up")
class Rest(IdleTest):
    def test_a_device_with_a_driver_at_rest(self):
        with self.device("--queues", "4") as device, Driver(device.socket) as driver:
            self.wait_for_data()
            self.assert_asleep(device.pid, driver.pid)

    def test_a_device_that_polls_long(self):
        with self.device("--poll-max", "1s") as device, Driver(device.socket) as driver:
            self.wait_for_data()
            self.assert_asleep(device.pid, driver.pid)

    def test_a_device_whose_driver_has_gone(self):
        with self.device() as device:
            with Driver(device.socket):
                self.wait_for_data()
            device.wait_for_line("client left")
            self.assert_asleep(device.pid)

    def test_a_guard_with_its_device_and_a_driver_at_rest(self):
        with self.guard() as guard, Driver(self.socket) as driver:
            self.wait_for_data()
            self.assert_asleep(guard.pid, driver.pid)

    def test_a_guard_whose_driver_has_gone(self):
        with self.guard() as guard:
            with Driver(self.socket):
                self.wait_for_data()
            # Its launcher and itself: a device is for one VM.
            while len(harness.family(guard.pid)) > 2:
                threading.Event().wait(0.01)
            self.assert_asleep(guard.pid)

    def guard(self):
        serve = f"{harness.AIRLOCK} serve blk --socket {{socket}} --backend file:{self.image}"
        return harness.Guard(self.socket, self.directory / "audit", "--exec", serve)


@unittest.skipIf(os.geteuid() != 0, "a device in its sandbox shows its memory to root only")
@unittest.skipIf(SANITIZE, "a sanitizer has memory of its own")
class Memory(IdleTest):
    """What is the device's alone: neither the region's, which is as large as it was wished, nor
    libraries', which all devices share."""

    MOST = 4 * MIB

    def assert_small(self, *arguments, queues=1, entries=256):
        with self.device(*arguments) as device:
            with self.stopped_driver(device, queues, entries):
                device.settle()
                used = {harness.name_of(pid): harness.private_bytes(pid, besides="airlock-region")
                        for pid in harness.family(device.pid)}
        self.assertTrue(all(used.values()), used)
        self.assertLess(sum(used.values()), self.MOST, used)

    @contextlib.contextmanager
    def stopped_driver(self, device, queues, entries):
        """One that has used all queues, and is stopped in the midst of it."""
        driver = subprocess.Popen(
            [str(harness.AIRLOCK), "blk", "bench", "--device", f"vfio-user:{device.socket}",
             "--numjobs", str(queues), "--queue-size", str(entries), "--iodepth", "32",
             "--runtime", "60s"],
            # Of its own session: the end of another's would have the kernel continue it.
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            while harness.threads_at_work(device.pid, "queue-") < queues:
                self.assertIsNone(driver.poll())
                threading.Event().wait(0.01)
            driver.send_signal(signal.SIGSTOP)
            yield
        finally:
            driver.kill()
            driver.wait()

    def test_a_device_as_it_is_by_default(self):
        self.assert_small()

    def test_many_queues(self):
        self.assert_small("--queues", "4", queues=4)

    def test_a_deep_queue(self):
        self.assert_small("--queue-size", "16384", entries=16384)

    def test_a_large_region(self):
        self.assert_small("--region", "1G")


if __name__ == "__main__":
    unittest.main(verbosity=2)
