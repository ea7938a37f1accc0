# SPDX-License-Identifier: Apache-2.0
"""A disk copied to another, by way of two device processes."""

import os
import unittest

from example_case import ExampleTest

DISK_BYTES = (6 << 20) + 512  # the last piece is a short one


class DiskCopy(ExampleTest):
    def disk(self, name, content):
        image = self.directory / f"{name}.img"
        image.write_bytes(content)
        return image, self.serve("blk", "--backend", f"file:{image}", name=name)

    def test_all_of_it_arrives(self):
        source, from_device = self.disk("from", os.urandom(DISK_BYTES))
        target, to_device = self.disk("to", bytes(DISK_BYTES + 4096))
        printed = self.run_example(f"vfio-user:{from_device.socket}",
                                   f"vfio-user:{to_device.socket}")
        self.assertEqual(printed, b"%d bytes\n" % DISK_BYTES)
        self.assertEqual(target.read_bytes(), source.read_bytes() + bytes(4096))

    def test_a_target_that_is_too_small(self):
        _, from_device = self.disk("from", bytes(1 << 20))
        _, to_device = self.disk("to", bytes(1 << 19))
        self.run_example(f"vfio-user:{from_device.socket}", f"vfio-user:{to_device.socket}",
                         status=1)


if __name__ == "__main__":
    unittest.main()
