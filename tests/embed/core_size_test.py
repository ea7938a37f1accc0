# SPDX-License-Identifier: Apache-2.0
"""src/core stays small enough to be read in an hour: fewer than 800 lines, in all of its headers.
Blank lines do not count, comments do: they are what is read."""

import glob
import os
import re
import unittest

REPO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LINES_MAX = 799


def filled(text):
    return sum(1 for line in text.split("\n") if line.strip())


def count(text):
    """Lines of code, of comments alone, and blank ones."""
    code = filled(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    lines = filled(text)
    return code, lines - code, text.count("\n") - lines


class CoreSize(unittest.TestCase):
    def test_counts_what_is_there(self):
        self.assertEqual(count("/* one\n * two */\n\nint a; /* three */\n"), (1, 2, 1))

    def test_core_is_below_800_lines(self):
        headers = sorted(glob.glob(os.path.join(REPO, "src", "core", "*.h")))
        self.assertGreater(len(headers), 10)
        total = (0, 0, 0)
        for path in headers:
            with open(path, encoding="utf-8") as file:
                lines = count(file.read())
            print("{:20} {:4} {:4} {:4}".format(os.path.basename(path), *lines))
            total = tuple(map(sum, zip(total, lines)))
        code, comments, blank = total
        print(f"src/core: {code} lines of code, {comments} of comments: {code + comments}; "
              f"and {blank} blank ones")
        self.assertLessEqual(code + comments, LINES_MAX)


if __name__ == "__main__":
    unittest.main()
