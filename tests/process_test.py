# SPDX-License-Identifier: Apache-2.0
"""The airlock command as a person or a script meets it: bad input, one client, a clean end."""

import itertools
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import harness
from process_case import ONE_LINE, ProcessTest

TOTAL = os.environ.get("AIRLOCK_VERIFY_TOTAL", "1G")
MODE_TOTAL = "1M" if harness.THREAD_SANITIZER else "4M"  # for each ring mode
UNITS = {"M": 20, "G": 30}


class BadInput(ProcessTest):
    def test_missing_image(self):
        self.serve_refused("--backend", "file:/nonexistent/disk.img", says="No such file")

    def test_image_that_is_no_multiple_of_512(self):
        with open(self.image, "wb") as file:
            file.truncate(1000)
        self.serve_refused("--backend", f"file:{self.image}", says="512")

    def test_empty_image(self):
        self.image.write_bytes(b"")
        self.serve_refused("--backend", f"file:{self.image}", says="empty")

    def test_unknown_backend(self):
        self.serve_refused("--backend", "floppy:a", says="floppy")

    def test_image_that_another_server_writes(self):
        with self.device():
            self.refused("serve", "blk", "--socket", self.directory / "other.sock", "--backend",
                         f"file:{self.image}", says="disk.img")

    def test_two_readers_may_share_an_image(self):
        with self.device("--readonly"), harness.Device(
                "blk", "--backend", f"file:{self.image}", "--readonly",
                directory=self.directory, name="second"):
            pass

    def test_socket_path_too_long(self):
        long = self.directory / ("x" * 120)
        self.refused("serve", "blk", "--socket", long, "--backend", "memory:8M", says="107")

    def test_socket_in_use(self):
        with self.device() as device:
            self.refused("serve", "blk", "--socket", device.socket, "--backend", "memory:8M",
                         says="another server")

    def test_stale_socket_is_replaced(self):
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(self.directory / "blk.sock"))
        stale.close()
        with self.device() as device:
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")

    def test_file_in_the_sockets_place_is_left_alone(self):
        self.socket.write_text("precious")
        self.serve_refused("--backend", "memory:8M", says="no socket")
        self.assertEqual(self.socket.read_text(), "precious")

    def test_region_that_is_no_power_of_two(self):
        self.serve_refused("--backend", "memory:8M", "--region", "48M", status=2, says="64M")

    def test_region_too_small_for_its_queues(self):
        text = self.serve_refused("--backend", "memory:8M", "--region", "64K", says="--region")
        fits = re.search(r"give --region (\d+[KMG]) or more", text)[1]
        with self.device("--region", fits, backend="memory:8M") as device:
            harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}",
                            "--total", "8M", "--iodepth-max", "8")

    def test_queue_of_a_size_that_no_ring_or_no_request_has(self):
        for size, why in (("2", "in range"), ("65536", "in range"), ("100", "power of two")):
            with self.subTest(size=size):
                self.serve_refused("--backend", "memory:8M", "--queue-size", size, status=2,
                                   says=why)

    def test_unknown_options_commands_and_values(self):
        for arguments in (("--bogus",), ("serve",), ("serve", "floppy"), ("frobnicate",), (),
                          ("serve", "blk"), ("blk", "bench"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--dma", "maybe"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--region", "many"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--poll-cpu", "101%"),
                          ("serve", "blk", "--socket", self.socket, "--backend", "memory:8M",
                           "--features", "zero_copy=on"),
                          ("blk", "info", "--device", "vfio-user:x", "--features", "packed"),
                          ("blk", "info", "--device", "floppy:a")):
            with self.subTest(arguments=arguments):
                self.refused(*arguments, status=2)

    def test_help_on_every_level_has_an_example(self):
        for command in ((), ("serve",), ("serve", "blk"), ("blk",), ("blk", "info"),
                        ("blk", "read"), ("blk", "write"), ("blk", "verify"), ("blk", "bench")):
            with self.subTest(command=command):
                done = harness.airlock(*command, "--help")
                self.assertIn("example:", done.stdout)
                self.assertEqual(done.stderr, "")

    def test_no_device_there(self):
        self.refused("blk", "info", "--device", f"vfio-user:{self.socket}", says="start the device")
        self.refused("blk", "info", "--device", "pci:ffff:ff:1f.7", says="lspci")

    def test_parts_that_the_disk_does_not_have(self):
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}")
            for part in (("--offset", "16M"), ("--length", "16M"), ("--offset", "100")):
                with self.subTest(part=part):
                    self.refused("blk", "read", *where, "--output", "/dev/null", *part, status=2)

    def test_input_that_is_no_whole_blocks(self):
        odd = self.directory / "odd"
        odd.write_bytes(b"x" * 100)
        with self.device() as device:
            self.refused("blk", "write", "--device", f"vfio-user:{device.socket}", "--input", odd,
                         says="512")


    def test_input_that_does_not_fit_or_is_too_short(self):
        data = self.directory / "data"
        data.write_bytes(b"x" * (9 << 20))
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}", "--input", data)
            self.refused("blk", "write", *where, says="more than fits")
            self.refused("blk", "write", *where, "--length", "16M", status=2)
            harness.airlock("blk", "write", *where, "--length", "8M")
            data.write_bytes(b"x" * 4096)
            self.refused("blk", "write", *where, "--length", "8K", says="ended after 4096")


class Clients(ProcessTest):
    def test_second_client_is_refused_and_the_first_goes_on(self):
        with self.device() as device, socket.socket(socket.AF_UNIX) as first:
            first.connect(str(device.socket))  # in the queue before any other
            self.refused("blk", "info", "--device", f"vfio-user:{device.socket}",
                         says="one client at a time")
            version = struct.pack("<HH", 0, 0) + b'{"capabilities":{}}\0'
            first.sendall(struct.pack("<HHIII", 1, 1, 16 + len(version), 0, 0) + version)
            number, command, _, flags, error = struct.unpack("<HHIII", first.recv(16))
            self.assertEqual((number, command, flags, error), (1, 1, 1, 0))  # a reply, no error

    def test_client_that_vanishes_in_the_middle_of_a_message(self):
        with self.device() as device:
            for part in (b"\x01", struct.pack("<HHIII", 1, 1, 400, 0, 0),
                         struct.pack("<HHIII", 1, 1, 1 << 31, 0, 0)):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(device.socket))
                client.sendall(part)
                client.close()
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")

    def test_client_killed_at_work_leaves_a_device_for_the_next(self):
        with self.device() as device:
            for _ in range(3):
                client = subprocess.Popen(
                    [str(harness.AIRLOCK), "blk", "bench", "--device",
                     f"vfio-user:{device.socket}", "--rw", "randwrite", "--iodepth", "32",
                     "--runtime", "60s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                device.wait_for_cpu()
                client.kill()
                client.wait()
                device.wait_for_line("client left")
                device.lines.clear()
            harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")
            self.assertEqual(device.stop(), 0)

    @unittest.skipIf(os.geteuid() != 0, "a device in its sandbox shows its memory to root only")
    def test_next_client_finds_an_empty_region(self):
        """What one guest left in the region no other sees."""
        with self.device(backend="memory:8M") as device:
            marker = self.directory / "marker"
            marker.write_bytes(b"left behind by A" * (1 << 16))
            harness.airlock("blk", "write", "--device", f"vfio-user:{device.socket}", "--input",
                            marker)
            device.wait_for_line("client left")
            # The line comes first, and the end of what was the client's at once after it.
            deadline = time.monotonic() + 20
            while any("airlock-region" in name
                      for _, name in harness.audit.shared_files(device.pid).values()):
                self.assertLess(time.monotonic(), deadline, "the region is still mapped")
                threading.Event().wait(0.01)

    def test_huge_pages_are_taken_from_who_is_trusted_with_them(self):
        free = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        if not free.exists() or int(free.read_text()) < 2:
            self.skipTest("no huge pages of 2 MiB are free on this machine")
        with self.device("--huge-pages", "--region", "2M", backend="memory:8M") as device:
            self.refused("blk", "info", "--device", f"vfio-user:{device.socket}",
                         says="vfio-user+huge-pages:PATH")
            harness.airlock("blk", "verify", "--device", f"vfio-user+huge-pages:{device.socket}",
                            "--total", "8M", "--iodepth-max", "8")

    def test_doorbells_are_taken_from_who_is_trusted_with_them(self):
        with self.device("--poll-max", "0us", backend="memory:8M") as device:
            harness.airlock("blk", "verify", "--device", f"vfio-user+doorbells:{device.socket}",
                            "--total", "8M", "--iodepth-max", "8")
        self.refused("blk", "info", "--device", "vfio-user+everything:x", status=2,
                     says="vfio-user:PATH")


class Lifecycle(ProcessTest):
    def test_sigterm_ends_it_with_0_and_removes_the_socket(self):
        with self.device() as device:
            self.assertTrue(device.socket.exists())
            self.assertEqual(device.stop(), 0)
        self.assertFalse(device.socket.exists())
        self.assertEqual(device.stats()["clients"], 0)

    def test_signals_are_caught_before_the_socket_appears(self):
        """Who waits for the socket may end the device at once: that is a drain, not a death."""
        device = harness.Device("blk", "--backend", "memory:8M", directory=self.directory)
        try:
            while not device.socket.exists():
                self.assertIsNone(device.process.poll(), device.log())
            status = pathlib.Path(f"/proc/{device.pid}/status").read_text()
            caught = int(re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE).group(1), 16)
            for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self.assertTrue(caught >> (wanted - 1) & 1, wanted)
            self.assertEqual(device.stop(), 0)
        finally:
            device.stop()

    @unittest.skipIf(harness.THREAD_SANITIZER, "TSan's own thread wakes up")
    def test_idle_device_uses_no_cpu(self):
        with self.device() as device:
            harness.airlock("blk", "bench", "--device", f"vfio-user:{device.socket}", "--runtime",
                            "200ms")
            client = socket.socket(socket.AF_UNIX)  # connected, and silent
            client.connect(str(device.socket))
            ran = device.settle()
            self.assertEqual(device.settle(), ran, "it wakes up though nothing happens")
            client.close()

    def test_inherited_socket(self):
        listening = socket.socket(socket.AF_UNIX)
        path = self.directory / "inherited.sock"
        listening.bind(str(path))
        listening.listen(1)
        process = subprocess.Popen(
            [str(harness.AIRLOCK), "serve", "blk", "--fd", str(listening.fileno()), "--backend",
             "memory:8M"], pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL)
        try:
            harness.airlock("blk", "info", "--device", f"vfio-user:{path}")
        finally:
            process.terminate()
        self.assertEqual(process.wait(30), 0)
        listening.close()


FEATURES = ("packed", "indirect", "event_idx", "in_order", "notification_data", "ring_reset")


class Rings(ProcessTest):
    """Every mode of a ring, chosen on either side. VIRTIO 1.3, 2.7, 2.8, 6."""

    def info(self, device, *arguments):
        done = harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}", "--json",
                               *arguments)
        return json.loads(done.stdout)

    def verify(self, device, *arguments):
        done = harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}",
                               "--total", MODE_TOTAL, "--bs-max", "64K", "--seed", "7", "--json",
                               *arguments)
        sums = json.loads(done.stdout)
        self.assertEqual(sums["checksum_disk"], sums["checksum_expected"])

    def test_the_best_is_the_default(self):
        with self.device(backend="memory:8M") as device:
            info = self.info(device)
            self.assertEqual(info["ring"], "packed")
            self.assertEqual(info["ring_features"],
                             ["indirect", "event_idx", "ring_reset"])
            text = harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}").stdout
            self.assertRegex(text, r"(?m)^ring +packed$")
            self.assertRegex(text, r"(?m)^ring_features +indirect event_idx ")

    def test_each_side_may_leave_out_what_it_likes(self):
        everything = ",".join(f"{name}=off" for name in FEATURES)
        with self.device(backend="memory:8M") as device:
            info = self.info(device, "--features", everything)
            self.assertEqual((info["ring"], info["ring_features"]), ("split", []))
            info = self.info(device, "--features", f"{everything},in_order=on")
            self.assertEqual((info["ring"], info["ring_features"]), ("split", ["in_order"]))
        with self.device("--features", "packed=off,ring_reset=off", backend="memory:8M") as device:
            info = self.info(device)
            self.assertEqual((info["ring"], info["ring_features"]),
                             ("split", ["indirect", "event_idx"]))
        with self.device("--features", everything, backend="memory:8M") as device:
            info = self.info(device, "--features", "packed=on,in_order=on")
            self.assertEqual((info["ring"], info["ring_features"]), ("split", []))

    def test_unknown_features_are_refused_with_the_names(self):
        text = self.serve_refused("--backend", "memory:8M", "--features", "packed=on,bogus=on",
                                  status=2, says="bogus")
        for name in FEATURES:
            self.assertIn(name, text)
        self.refused("blk", "verify", "--device", "vfio-user:x", "--features", "packed=perhaps",
                     status=2, says="packed=perhaps")

    def test_every_mode_keeps_its_data(self):
        with self.device("--queue-size", "64", backend="memory:8M") as device:
            for packed, indirect, event_idx, in_order in itertools.product(("on", "off"), repeat=4):
                choice = (f"packed={packed},indirect={indirect},event_idx={event_idx},"
                          f"in_order={in_order}")
                with self.subTest(features=choice):
                    info = self.info(device, "--features", choice)
                    self.assertEqual(info["ring"], "packed" if packed == "on" else "split")
                    self.verify(device, "--features", choice)
        self.assertEqual(device.stats()["violations"], 0)

    def test_notifications_with_and_without_data(self):
        with self.device(backend="memory:8M") as device:
            for packed, data in itertools.product(("on", "off"), repeat=2):
                with self.subTest(packed=packed, notification_data=data):
                    self.verify(device, "--features", f"packed={packed},notification_data={data}")

    def test_small_regions_cut_requests_into_many_buffers(self):
        with self.device("--region", "1M", backend="memory:8M") as device:
            for choice in ("packed=on", "packed=off", "packed=on,indirect=off",
                           "packed=off,indirect=off"):
                with self.subTest(features=choice):
                    self.verify(device, "--features", choice)


class Disks(ProcessTest):
    def test_what_is_written_is_in_the_file(self):
        data = self.directory / "data"
        data.write_bytes(os.urandom(3 << 20))
        back = self.directory / "back"
        with self.device() as device:
            where = ("--device", f"vfio-user:{device.socket}")
            harness.airlock("blk", "write", *where, "--input", data, "--offset", "1M")
            harness.airlock("blk", "read", *where, "--output", back, "--offset", "1M", "--length",
                            "3M")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(back.read_bytes(), data.read_bytes())
        self.assertEqual(self.image.read_bytes()[1 << 20:4 << 20], data.read_bytes())

    def test_read_only_disk_refuses_writes(self):
        with self.device("--readonly") as device:
            self.refused("blk", "verify", "--device", f"vfio-user:{device.socket}",
                         says="read-only")
            info = json.loads(harness.airlock("blk", "info", "--json", "--device",
                                              f"vfio-user:{device.socket}").stdout)
            self.assertTrue(info["read_only"])

    def bench(self, device, *arguments):
        done = harness.airlock("blk", "bench", "--device", f"vfio-user:{device.socket}", "--json",
                               "--runtime", "200ms", *arguments)
        return json.loads(done.stdout)

    def test_what_a_request_cost_is_counted_on_both_sides(self):
        with self.device("--poll-max", "0us", backend="memory:8M") as device:
            bounced = self.bench(device, "--bs", "8k", "--poll-max", "0us")
            in_place = self.bench(device, "--bs", "8k", "--poll-max", "0us", "--in-place")
            self.assertEqual(device.stop(), 0)
        self.assertEqual((bounced["copies_per_request"], bounced["bytes_copied_per_request"]),
                         (1, 8192))
        self.assertEqual((in_place["copies_per_request"], in_place["bytes_copied_per_request"]),
                         (0, 0))
        # Neither side looks again before it sleeps: each has to wake the other.
        for side in (bounced, in_place):
            for what in ("notifications", "interrupts", "sleeps"):
                self.assertGreater(side[f"{what}_per_request"], 0, what)
            self.assertLessEqual(side["notifications_per_request"], 1)
            self.assertLessEqual(side["interrupts_per_request"], 1)
        stats = device.stats()
        requests = stats["requests"]["read"]
        self.assertEqual((stats["copies"], stats["copied_bytes"]), (requests, requests * 8192))
        # One that comes before the queue's thread sleeps counts with the next.
        self.assertGreater(stats["notifications"], 0)
        self.assertLessEqual(stats["notifications"],
                             bounced["notifications"] + in_place["notifications"])
        self.assertGreater(stats["wake_ups"], 0)
        self.assertGreaterEqual(stats["empty_polls"], stats["wake_ups"])
        self.assertGreater(stats["interrupts"], 0)

    def test_both_address_modes_and_several_queues(self):
        for mode, name in (("bus", "SWIOTLB"), ("offset", "DMB")):
            with self.subTest(mode=mode), self.device("--address", mode, "--queues", "4") as device:
                where = ("--device", f"vfio-user:{device.socket}")
                info = json.loads(harness.airlock("blk", "info", "--json", *where).stdout)
                self.assertIn(name, info["region_by"])
                self.assertEqual(info["queues"], 4)
                bench = json.loads(harness.airlock("blk", "bench", *where, "--numjobs", "4", "--rw",
                                                   "randrw", "--runtime", "200ms", "--json").stdout)
                self.assertGreater(bench["requests"], 0)

    def test_disk_full_is_an_error_and_the_device_goes_on(self):
        small = harness.small_file_system(self, "1m")
        image = small / "disk.img"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        with self.device(backend=f"file:{image}") as device:
            where = ("--device", f"vfio-user:{device.socket}")
            failed = harness.airlock("blk", "write", *where, "--input", self.image, check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertRegex(failed.stderr, ONE_LINE)
            device.wait_for_line("No space left")
            harness.airlock("blk", "read", *where, "--output", "/dev/null", "--length", "64K")

    def test_random_writes_verify(self):
        """Depths 1 to 128, sizes 512 B to 4 MiB: equal checksums of what was meant and what is."""
        with open(self.image, "wb") as file:
            file.truncate(192 << 20)
        with self.device() as device:
            report = json.loads(harness.airlock(
                "blk", "verify", "--json", "--device", f"vfio-user:{device.socket}",
                "--total", TOTAL, timeout=600).stdout)
            self.assertEqual(device.stop(), 0)
        self.assertEqual(report["checksum_expected"], report["checksum_disk"])
        self.assertGreaterEqual(report["bytes_written"], int(TOTAL[:-1]) << UNITS[TOTAL[-1]])
        stats = device.stats()
        self.assertEqual((stats["io_errors"], stats["refused"], stats["violations"]), (0, 0, 0))


class Check(ProcessTest):
    """The conformance suite over our own device: it keeps every rule, as far as the rule is for it.
    REQUIREMENTS 1.6, DEF-5, DMB-D7."""

    # The results, by id.
    def check(self, device, *arguments, status=0):
        done = harness.airlock("check", "--device", f"vfio-user:{device.socket}", "--json",
                               *arguments, check=False, timeout=300)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["device"], f"vfio-user:{device.socket}")
        for one in report["results"]:
            self.assertEqual(list(one), ["id", "result", "what", "why"])
        results = {one["id"]: one for one in report["results"]}
        self.assertEqual(len(results), len(report["results"]))
        return results

    def listed(self):
        lines = harness.airlock("check", "--list").stdout.splitlines()
        return [line.split()[0] for line in lines]

    def assert_kept(self, results, passes):
        """Nothing failed; what was skipped says why; and this many passed."""
        for one in results.values():
            self.assertIn(one["result"], ("pass", "skip"), one)
            self.assertTrue(one["result"] == "pass" or one["why"], one)
        passed = [one for one in results.values() if one["result"] == "pass"]
        self.assertGreaterEqual(len(passed), passes)

    def test_each_mode_and_policy_keeps_the_rules(self):
        for mode, policy in (("bus", "require"), ("offset", "require"), ("bus", "prefer"),
                             ("offset", "prefer")):
            with self.subTest(mode=mode, policy=policy), \
                    self.device("--address", mode, "--dma", policy) as device:
                results = self.check(device)
                self.assertEqual(list(results), self.listed())
                self.assert_kept(results, passes=100)
                inside, outside = (("GEN-0", "DEF-5/buffer-wraps") if mode == "bus" else
                                   ("DMB-D6", "DMB-D7/buffer-wraps"))
                self.assertEqual(results[inside]["result"], "pass")
                self.assertEqual(results[outside]["result"], "pass")
                declined = results["GEN-DV1" if mode == "bus" else "DMB-D9"]["why"]
                self.assertIn("withheld" if policy == "require" else "goes on", declined)
                # The client leaves a device that the next one can use.
                harness.airlock("blk", "info", "--device", f"vfio-user:{device.socket}")
                self.assertEqual(device.stop(), 0)

    def test_a_device_without_a_region_is_looked_at_as_far_as_it_goes(self):
        with self.device("--dma", "open") as device:
            results = self.check(device)
            self.assert_kept(results, passes=40)
            self.assertEqual(results["DEF-5/queue-outside"]["result"], "skip")
            self.assertIn("no region", results["DEF-5/queue-outside"]["why"])

    def test_a_device_that_never_sleeps(self):
        """It looks at what a check offers at once, and not when it is notified."""
        with self.device("--poll-max", "10s") as device:
            for _ in range(3):
                self.assert_kept(self.check(device), passes=100)

    def test_several_queues_and_a_read_only_disk(self):
        with self.device("--queues", "4", "--queue-size", "8", "--readonly") as device:
            results = self.check(device)
            self.assert_kept(results, passes=90)
            self.assertEqual(results["VIRTIO-5.2.4/num-queues"]["result"], "pass")

    def test_the_disk_keeps_its_bytes(self):
        """Without --destructive nothing is written; with it all is put back."""
        data = os.urandom(8 << 20)
        self.image.write_bytes(data)
        with self.device() as device:
            results = self.check(device)
            self.assertEqual(results["VIRTIO-5.2.6.2/write"]["result"], "skip")
            results = self.check(device, "--destructive", "--only", "VIRTIO-5.2.6.2")
            self.assert_kept(results, passes=2)
            self.assertEqual(results["VIRTIO-5.2.6.2/write"]["result"], "pass")
            self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["io_errors"], 0)
        self.assertEqual(self.image.read_bytes(), data)

    def test_a_read_only_disk_refuses_to_be_written(self):
        data = os.urandom(8 << 20)
        self.image.write_bytes(data)
        with self.device("--readonly") as device:
            results = self.check(device, "--destructive", "--only", "VIRTIO-5.2.6.2/read-only")
            self.assertEqual(results["VIRTIO-5.2.6.2/read-only"]["result"], "pass")
        self.assertEqual(self.image.read_bytes(), data)

    def test_list_has_each_once_and_needs_no_device(self):
        ids = self.listed()
        self.assertGreaterEqual(len(ids), 100)
        self.assertEqual(len(ids), len(set(ids)))
        as_json = json.loads(harness.airlock("check", "--list", "--json").stdout)["checks"]
        self.assertEqual([one["id"] for one in as_json], ids)
        only = harness.airlock("check", "--list", "--only", "PCI-0,DEF-4").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in only],
                         ["PCI-0", "DEF-4/alignment", "DEF-4/size"])

    def test_a_line_a_check(self):
        with self.device() as device:
            done = harness.airlock("check", "--device", f"vfio-user:{device.socket}", "--only",
                                   "PCI-0,GEN-DV1,DMB-D4")
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines],
                         [["PCI-0", "pass"], ["DMB-D4", "skip"], ["GEN-DV1", "pass"]])
        self.assertRegex(lines[1], r": the device does not offer VIRTIO_F_DMB$")
        self.assertEqual(done.stderr, "")

    def test_a_device_that_does_not_answer_is_an_error(self):
        with self.device() as device:
            os.kill(device.pid, signal.SIGSTOP)
            try:
                self.refused("check", "--device", f"vfio-user:{device.socket}", says="no answer")
            finally:
                os.kill(device.pid, signal.SIGCONT)

    def test_a_device_that_dies_on_the_way_is_a_failure(self):
        """The check that finds it dead fails, and says so; the rest is skipped, with the reason."""
        with self.device() as device:
            checker = subprocess.Popen(
                [str(harness.AIRLOCK), "check", "--device", f"vfio-user:{device.socket}"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            with checker.stdout as out, checker.stderr as err:
                lines = [out.readline()]
                device.process.kill()
                # Through the same buffer: it may hold more lines than were asked for.
                lines += out.read().splitlines()
                error = err.read()
            checker.wait(timeout=120)
        self.assertEqual(checker.returncode, 1)
        self.assertRegex(error, ONE_LINE)
        self.assertIn("1 of ", error)
        self.assertEqual([line.split()[0] for line in lines], self.listed())
        words = [line.split()[1] for line in lines]
        dead = words.index("fail")
        self.assertEqual(set(words[dead + 1:]), {"skip"})
        self.assertIn("gone since " + lines[dead].split()[0], lines[-1])

    def test_usage_errors(self):
        where = ("--device", f"vfio-user:{self.socket}")
        self.refused("check", status=2, says="--device")
        self.refused("check", "--device", "floppy:a", status=2, says="vfio-user:PATH")
        self.refused("check", *where, "--only", "DEF-99", status=2, says="--list")
        self.refused("check", *where, "--only", "", status=2)
        self.refused("check", *where, "--bogus", status=2)
        self.refused("check", *where, says="start the device")
        done = harness.airlock("check", "--help")
        self.assertIn("example:", done.stdout)
        self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
