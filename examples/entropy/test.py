# SPDX-License-Identifier: Apache-2.0
"""Random bytes from a device of this machine."""

import unittest

from example_case import ExampleTest


class Entropy(ExampleTest):
    def test_bytes_differ(self):
        device = self.serve("rng")
        first = self.run_example(f"vfio-user:{device.socket}", "10000").strip()
        second = self.run_example(f"vfio-user:{device.socket}", "10000").strip()
        self.assertEqual((len(first), len(second)), (20000, 20000))
        self.assertNotEqual(first, second)
        self.assertGreater(len(set(bytes.fromhex(first.decode()))), 200)
        self.assertEqual(device.stop(), 0)
        self.assertEqual(device.stats()["bytes"], 20000)

    def test_a_limit_is_waited_for(self):
        device = self.serve("rng", "--max-bytes", "100", "--period", "20")
        self.assertEqual(len(self.run_example(f"vfio-user:{device.socket}", "500")), 1001)
        self.assertEqual(device.stop(), 0)
        self.assertGreater(device.stats()["waits"], 0)

    def test_there_is_no_device(self):
        self.run_example(f"vfio-user:{self.directory}/none", "10", status=1)
        self.run_example(status=2)


if __name__ == "__main__":
    unittest.main()
