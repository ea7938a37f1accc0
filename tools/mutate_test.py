#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/mutate.py: which mutations it takes, and how it makes them. No build."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mutate  # noqa: E402

TABLE = '[drop-it]\nfile = "a.h"\ntext = "if (bad) return;"\nwith = ""\ntests = ["a_test"]\n'


def mutation(**changes):
    return mutate.parse("core", TABLE)[0]._replace(**changes)


class Parse(unittest.TestCase):
    def test_takes_a_table(self):
        self.assertEqual(mutation(),
                         mutate.Mutation("drop-it", "core", "a.h", "if (bad) return;", "",
                                         ("a_test",)))  # fmt: skip

    def test_refuses_a_table_that_lacks_or_has_other_keys(self):
        for text in (TABLE.replace("tests", "test"), TABLE + "more = 1\n", "drop-it = 1\n"):
            with self.assertRaises(mutate.BadMutation):
                mutate.parse("core", text)

    def test_refuses_a_name_twice(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.toml", "b.toml"):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(TABLE)
            with self.assertRaises(mutate.BadMutation):
                mutate.load(folder)


class Apply(unittest.TestCase):
    def test_replaces_what_is_there_once(self):
        self.assertEqual(mutate.apply(mutation(), "f();\nif (bad) return;\ng();"), "f();\n\ng();")

    def test_refuses_what_is_there_never_or_twice(self):
        for source in ("f();", "if (bad) return;" * 2):
            with self.assertRaises(mutate.BadMutation):
                mutate.apply(mutation(), source)

    def test_refuses_to_change_nothing(self):
        same = mutation(replacement="if (bad) return;")
        with self.assertRaises(mutate.BadMutation):
            mutate.apply(same, "if (bad) return;")

    def test_says_why_it_does_not_apply(self):
        with tempfile.TemporaryDirectory() as repo:
            self.assertIn("No such file", mutate.why_not(mutation(), repo))
            with open(os.path.join(repo, "a.h"), "w", encoding="utf-8") as file:
                file.write("if (bad) return;\n")
            self.assertIsNone(mutate.why_not(mutation(), repo))


class Select(unittest.TestCase):
    def setUp(self):
        names = (("a", "core"), ("b", "core"), ("c", "pci"))
        self.all = {name: mutation(name=name, group=group) for name, group in names}

    def names(self, *wanted):
        return [one.name for one in mutate.select(self.all, wanted)]

    def test_all_some_or_a_file_of_them(self):
        self.assertEqual(self.names(), ["a", "b", "c"])
        self.assertEqual(self.names("c"), ["c"])
        self.assertEqual(self.names("core/", "a"), ["a", "b"])

    def test_refuses_a_name_that_is_none(self):
        with self.assertRaises(mutate.BadMutation):
            self.names("d")


class CopyTree(unittest.TestCase):
    def test_leaves_what_did_not_change_and_removes_what_is_gone(self):
        with tempfile.TemporaryDirectory() as folder:
            repo, target = os.path.join(folder, "repo"), os.path.join(folder, "target")
            os.makedirs(os.path.join(repo, "src"))
            paths = [os.path.join(repo, name) for name in ("src/a.h", "src/b.h")]
            for path in paths:
                with open(path, "w", encoding="utf-8") as file:
                    file.write("one")
            mutate.copy_tree(repo, target)
            os.utime(os.path.join(target, "src/a.h"), (1, 1))
            os.makedirs(os.path.join(target, "build"))
            os.remove(paths[1])
            mutate.copy_tree(repo, target)
            self.assertEqual(os.path.getmtime(os.path.join(target, "src/a.h")), 1)
            self.assertEqual(sorted(os.listdir(target)), ["build", "src"])
            self.assertEqual(os.listdir(os.path.join(target, "src")), ["a.h"])


class Tree(unittest.TestCase):
    def test_every_mutation_names_a_unit_test_of_the_tree(self):
        lists = "".join(
            text
            for path, text in mutate.tidy.read_tree(mutate.REPO).items()
            if path.endswith("CMakeLists.txt")
        )
        for one in mutate.load(os.path.join(mutate.REPO, "tools", "mutations")).values():
            for test in one.tests:
                self.assertIn(f"airlock_test({test} ", lists.replace("\n", " "), one.name)


if __name__ == "__main__":
    unittest.main()
