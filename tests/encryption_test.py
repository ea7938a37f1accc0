# SPDX-License-Identifier: Apache-2.0
"""Encrypted queues between two processes, as a person asks for them: docs/ENCRYPTION.md."""

import json
import unittest

import harness
from process_case import ProcessTest

ALGORITHMS = ("aes-256-gcm", "chacha20-poly1305", "null")
ALL = ",".join(ALGORITHMS)
TOTAL = "1M" if harness.THREAD_SANITIZER else "8M"


class Encryption(ProcessTest):
    def verify(self, device, *arguments):
        done = harness.airlock("blk", "verify", "--device", f"vfio-user:{device.socket}",
                               "--total", TOTAL, "--bs-max", "256K", "--seed", "7", "--json",
                               *arguments)
        sums = json.loads(done.stdout)
        self.assertEqual(sums["checksum_disk"], sums["checksum_expected"])

    def test_a_disk_is_what_was_written_by_each_algorithm(self):
        """ENC-6: in both formats, from a memory and from a file."""
        for backend in ("memory:8M", f"file:{self.image}"):
            with self.device("--encrypt", ALL, "--queues", "2", backend=backend) as device:
                for algorithm in ALGORITHMS:
                    self.verify(device, "--encrypt", algorithm)
                    self.verify(device, "--encrypt", algorithm, "--features", "packed=off")

    def test_the_disk_itself_has_plaintext(self):
        """The region is encrypted, and nothing else: what is behind the device is its affair."""
        content = b"in the clear, on the disk " * 20_000
        source = self.directory / "source"
        source.write_bytes(content[:512 * (len(content) // 512)])
        with self.device("--encrypt", "aes-256-gcm", "--address", "offset") as device:
            harness.airlock("blk", "write", "--device", f"vfio-user:{device.socket}",
                            "--input", source, "--encrypt", "aes-256-gcm")
            again = self.directory / "again"
            harness.airlock("blk", "read", "--device", f"vfio-user:{device.socket}", "--encrypt",
                            "aes-256-gcm", "--length", str(source.stat().st_size),
                            "--output", again)
        self.assertEqual(again.read_bytes(), source.read_bytes())
        self.assertTrue(self.image.read_bytes().startswith(source.read_bytes()))

    def test_neither_side_does_without(self):
        """ENC-1."""
        with self.device("--encrypt", "aes-256-gcm", backend="memory:8M") as device:
            name = ("--device", f"vfio-user:{device.socket}")
            self.refused("blk", "info", *name, says="FEATURES_OK")
            self.refused("blk", "info", *name, "--encrypt", "null", says="encrypt")
            self.refused("blk", "info", *name, "--encrypt", "chacha20-poly1305", says="encrypt")
            self.verify(device, "--encrypt", "aes-256-gcm")
            self.assertIn("--encrypt", "\n".join(device.log()))
        with self.device(backend="memory:8M"):
            self.refused("blk", "info", *name, "--encrypt", "aes-256-gcm", says="encrypt")

    def test_words_that_mean_nothing_are_refused(self):
        for wrong in ("rot13", "", "aes-256-gcm,"):
            self.serve_refused("--backend", "memory:8M", "--encrypt", wrong, status=2,
                               says="chacha20-poly1305")
        self.refused("blk", "info", "--device", "vfio-user:x", "--encrypt", ALL, status=2,
                     says="chacha20-poly1305")
        self.refused("blk", "bench", "--device", "vfio-user:x", "--encrypt", "aes-256-gcm",
                     "--in-place", status=2, says="--encrypt")

    def test_what_it_costs_is_one_command(self):
        with self.device("--encrypt", ALL, backend="memory:8M") as device:
            for algorithm in ALGORITHMS:
                done = harness.airlock("blk", "bench", "--device", f"vfio-user:{device.socket}",
                                       "--bs", "64k", "--iodepth", "4", "--runtime", "200ms",
                                       "--json", "--encrypt", algorithm)
                measured = json.loads(done.stdout)
                self.assertEqual(measured["encryption"], algorithm)
                self.assertGreater(measured["requests"], 0)
                self.assertEqual(measured["copies_per_request"], 1)


if __name__ == "__main__":
    unittest.main()
