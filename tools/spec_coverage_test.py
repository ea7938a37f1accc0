#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/spec_coverage.py and tools/citations.py: who cites what, in small snippets."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import citations  # noqa: E402
import spec_coverage  # noqa: E402

REQUIREMENTS = """
| ID | who | level | requirement |
|---|---|---|---|
| GEN-DR2 | driver | MUST | stay inside |
| HD-1 | id | below the size |
| HD-2 | life | recorded |
| HD-3 | length | compared |
| HD-4 | jumps | bounded |
"""


def tests_citing(name, text, path="src/ring/a_test.cc"):
    """The names of the tests of `text` that cite `name`."""
    places = citations.test_places(path, text)
    return [
        place.name
        for place in places
        if name in citations.ids_in(place.text, {"GEN", "HD"}) + citations.clauses_in(place.text)
    ]


class Ids(unittest.TestCase):
    def ids(self, text):
        return citations.ids_in(citations.words_of(text), {"GEN", "DMB", "HD"})

    def test_lists_and_ranges_name_each_member(self):
        self.assertEqual(self.ids("HD-6, HD-7"), ["HD-6", "HD-7"])
        self.assertEqual(self.ids("HD-1 to HD-4"), ["HD-1", "HD-2", "HD-3", "HD-4"])
        self.assertEqual(self.ids("HD-1 to 3"), ["HD-1", "HD-2", "HD-3"])
        self.assertEqual(self.ids("DMB-DR3..DMB-DR5"), ["DMB-DR3", "DMB-DR4", "DMB-DR5"])

    def test_a_range_goes_on_after_a_line_break(self):
        self.assertEqual(self.ids("  /// (HD-3 to\n  /// HD-4)"), ["HD-3", "HD-4"])

    def test_two_kinds_are_no_range(self):
        self.assertEqual(self.ids("HD-1 to DMB-D3"), ["HD-1", "DMB-D3"])
        self.assertEqual(self.ids("HD-4 to HD-1"), ["HD-4"])

    def test_attack_classes_have_ids(self):
        self.assertEqual(self.ids("Attack class 3: wraps."), ["ATK-3"])
        self.assertEqual(self.ids("// attack classes 1, 2 and\n// 4 to 6"),
                         ["ATK-1", "ATK-2", "ATK-4", "ATK-5", "ATK-6"])  # fmt: skip

    def test_other_words_are_no_ids(self):
        self.assertEqual(self.ids("UTF-8, SHA-256, AHD-1, HD-x, HD- 1"), [])


class Clauses(unittest.TestCase):
    def clauses(self, text):
        return citations.clauses_in(citations.words_of(text))

    def test_lists_and_ranges_name_each_member(self):
        self.assertEqual(self.clauses("VIRTIO 1.3, 2.7.13.3.1, 2.7.13.4.1; HD-22."),
                         ["2.7.13.3.1", "2.7.13.4.1"])  # fmt: skip
        self.assertEqual(self.clauses("VIRTIO 1.3, 2.7.5, 2.7.5.1 to 2.7.5.3, 2.8.5 to 2.8.6."),
                         ["2.7.5", "2.7.5.1", "2.7.5.2", "2.7.5.3", "2.8.5", "2.8.6"])  # fmt: skip
        self.assertEqual(self.clauses("VIRTIO 1.3, 2.1, 3.1 and 4.1 say"), ["2.1", "3.1", "4.1"])
        self.assertEqual(self.clauses("// VIRTIO 1.3,\n// 2.4: the reset"), ["2.4"])

    def test_numbers_that_are_no_clauses(self):
        self.assertEqual(self.clauses("VIRTIO 1.3, 2.7: 16 * n, 6 + 2 * n"), ["2.7"])
        self.assertEqual(self.clauses("VIRTIO 1.3, 2.7, 16 bytes"), ["2.7"])
        self.assertEqual(self.clauses("VIRTIO 1.3 has a meaning. 2.7"), [])


class Tests(unittest.TestCase):
    def test_above_and_inside(self):
        text = "// HD-1: why.\nTEST(Ring, A) {  // HD-2\n  f();  // HD-3\n}\n\nTEST(Ring, B) {\n}\n"
        for name in ("HD-1", "HD-2", "HD-3"):
            self.assertEqual(tests_citing(name, text), ["Ring.A"])

    def test_a_comment_belongs_to_the_test_below_it_only(self):
        text = "TEST(Ring, A) {\n}\n// HD-1\nTEST_F(Ring, B) {\n}\nTEST_P(Ring, C) {\n}\n"
        self.assertEqual(tests_citing("HD-1", text), ["Ring.B"])

    def test_what_a_test_uses_speaks_for_it(self):
        text = ("#include <a>\n// HD-1\nvoid lie(int id) {\n  g(id);  // HD-2\n}\n\n"
                "TEST(Ring, A) {\n  lie(1);\n}\n\nTEST(Ring, B) {\n  tell(1);\n}\n")  # fmt: skip
        self.assertEqual(tests_citing("HD-1", text), ["Ring.A"])
        self.assertEqual(tests_citing("HD-2", text), ["Ring.A"])

    def test_a_fixture_speaks_for_its_tests(self):
        text = ("#include <a>\n/// HD-4.\nclass Jump : public T {\n};\n\n"
                "TEST_F(Jump, A) {\n}\nTEST(Ring, B) {\n}\n")  # fmt: skip
        self.assertEqual(tests_citing("HD-4", text), ["Jump.A"])

    def test_a_section_speaks_until_the_next(self):
        text = ("// --- ids. HD-1 ---\n\nTEST(Ring, A) {\n}\n\n// Twin.\nTEST(Ring, B) {\n}\n\n"
                "// --- lengths ---\n\nTEST(Ring, C) {\n}\n")  # fmt: skip
        self.assertEqual(tests_citing("HD-1", text), ["Ring.A", "Ring.B"])

    def test_the_head_of_a_file_speaks_for_all_of_it(self):
        text = "// SPDX\n//\n// Goal: HD-1.\n#include <a>\n\nTEST(Ring, A) {\n}\n"
        self.assertEqual(tests_citing("HD-1", text), [None])

    def test_rows_of_a_table_are_tests(self):
        text = ("constexpr Lie kLies[] = {\n    // HD-1\n    {\"IdTooBig\", 64},\n"
                "    {\"Twice\", 3},  // HD-2\n    {.name = \"Long\", .rule = \"HD-3\"}};\n\n"
                "TEST_P(Lies, AreNoticed) {\n}\n\n"
                "INSTANTIATE_TEST_SUITE_P(All, Lies, testing::ValuesIn(kLies), name_of);\n"
                )  # fmt: skip
        self.assertEqual([row.name for row in citations.rows_of("src/a_test.cc", text)],
                         ["IdTooBig", "Twice", "Long"])  # fmt: skip
        self.assertEqual(tests_citing("HD-1", text), ["Lies/IdTooBig"])
        self.assertEqual(tests_citing("HD-2", text), ["Lies/Twice"])
        self.assertEqual(tests_citing("HD-3", text), ["Lies/Long"])

    def test_a_section_of_the_hostile_driver_is_an_attack_class(self):
        text = ("#include <a>\n// --- 3: lengths ---\n\nconst Case kLong[] = {\n"
                "    {\"Wraps\", 1},  // HD-1\n};\nAIRLOCK_HOSTILE_CLASS(Lengths, kLong);\n"
                "// --- 4: tables ---\nAIRLOCK_HOSTILE_CLASS(Tables, kNested);\n")  # fmt: skip
        path = "src/testing/hostile_driver_a_test.cc"
        cited = {
            name: [place.name for place in citations.test_places(path, text)
                   if name in citations.ids_in(place.text, {"HD"})]
            for name in ("ATK-3", "ATK-4", "HD-1")
        }  # fmt: skip
        self.assertEqual(cited, {"ATK-3": ["Lengths.HasADefiniteEnd"],
                                 "ATK-4": ["Tables.HasADefiniteEnd"],
                                 "HD-1": ["Lengths/Wraps"]})  # fmt: skip

    def test_python(self):
        text = ('"""Goal."""\nimport unittest\n\n\nclass A(unittest.TestCase):\n'
                "    # HD-1\n    def test_a(self):\n        pass  # HD-2\n\n"
                "    def test_b(self):\n        pass\n")  # fmt: skip
        for name in ("HD-1", "HD-2"):
            self.assertEqual(tests_citing(name, text, "tests/a_test.py"), ["A.test_a"])

    def test_functions_of_a_plain_c_test(self):
        text = "// HD-1\nstatic void a(void)\n{\n}\n\nint main(void)\n{\n\ta(); // HD-2\n}\n"
        self.assertEqual(tests_citing("HD-1", text, "kernel/tests/a_test.c"), ["a"])


class Code(unittest.TestCase):
    def names(self, text):
        return [place.name for place in citations.code_places("src/ring/a.h", text)]

    def test_a_comment_names_what_stands_below_it(self):
        self.assertEqual(self.names("#pragma once\n/// HD-1.\nclass A {\n};\n"), ["A"])
        self.assertEqual(self.names("#pragma once\n/// HD-1.\n[[nodiscard]] Result<int> f(int);\n"),
                         ["f"])  # fmt: skip
        self.assertEqual(self.names("#pragma once\nint kA = 3;  // HD-1\n"), ["kA"])

    def test_a_comment_in_a_function_names_the_function(self):
        text = "#pragma once\nvoid A::f() {\n  // HD-1\n  g();\n}\n"
        self.assertEqual(self.names(text), ["A::f"])


class Report(unittest.TestCase):
    TEXTS = {
        "docs/REQUIREMENTS.md": REQUIREMENTS,
        "src/ring/a.h": "#pragma once\n/// HD-1 to HD-3; VIRTIO 1.3, 2.7.8, 2.7.6.\nvoid f();\n",
        "src/ring/a_test.cc": "// HD-1, GEN-DR2; VIRTIO 1.3, 2.7.8\nTEST(Ring, A) {\n}\n",
        "src/testing/fake.h": "#pragma once\n/// HD-4.\nvoid g();\n",
    }

    def test_says_what_no_test_names(self):
        coverage = spec_coverage.collect(self.TEXTS)
        self.assertEqual(spec_coverage.missing_of(coverage), (["HD-2", "HD-3", "HD-4"], ["2.7.6"]))
        text = spec_coverage.render(coverage, self.TEXTS)
        self.assertIn("3 of 5 without a test**: HD-2, HD-3, HD-4", text)
        self.assertIn("| GEN-DR2 | driver MUST: stay inside | - | Ring.A |", text)
        self.assertIn("| 2.7.6 | `src/ring/a.h` (f) | **none** |", text)

    def test_finds_the_tests_of_each_lie(self):
        texts = {
            "src/testing/hostile_device.cc": 'constexpr Lie kAll[] = {{"Told", a}, {"Untold", b}};',
            "src/driver/a_test.cc": 'constexpr End kEnds[] = {{"Told", 1}, {"Other", 2}};\n'
            "INSTANTIATE_TEST_SUITE_P(All, LieTest, testing::ValuesIn(kEnds));\n",
        }
        self.assertEqual(spec_coverage.lies_of(texts), {"Told": ["LieTest/Told"], "Untold": []})

    def test_helpers_of_tests_are_neither_code_nor_test(self):
        coverage = spec_coverage.collect(self.TEXTS)
        self.assertNotIn("HD-4", coverage.code)
        self.assertNotIn("HD-4", coverage.tests)

    # What binds nobody needs no test, but a reason; a rule with a test can not be declared none.
    def test_what_is_no_rule_needs_no_test(self):
        texts = dict(self.TEXTS)
        texts["docs/REQUIREMENTS.md"] += (
            "\n## Not rules\n\n- HD-2: a fact.\n- VIRTIO 1.3, 2.7.6: names\n  a section.\n"
            "\n## More\n\n- HD-3: is one.\n"
        )
        coverage = spec_coverage.collect(texts)
        self.assertEqual(coverage.not_rules, {"HD-2": "a fact.", "2.7.6": "names a section."})
        self.assertEqual(spec_coverage.missing_of(coverage), (["HD-3", "HD-4"], []))
        self.assertEqual(coverage.dangling, [])
        text = spec_coverage.render(coverage, texts)
        self.assertIn("| HD-2 | life: recorded | `src/ring/a.h` (f) | not a rule |", text)
        self.assertIn("| 2.7.6 | names a section. |", text)

    def test_finds_an_exception_that_is_none(self):
        texts = dict(self.TEXTS)
        texts["docs/REQUIREMENTS.md"] += "\n## Not rules\n\n- HD-1: a fact.\n- HD-7: gone.\n"
        self.assertEqual(
            spec_coverage.collect(texts).dangling,
            ["docs/REQUIREMENTS.md: HD-1 is no rule there, but a test cites it",
             "docs/REQUIREMENTS.md: HD-7 is no rule there, and nothing cites it"],
        )  # fmt: skip

    def test_finds_a_citation_that_leads_nowhere(self):
        texts = dict(self.TEXTS)
        self.assertEqual(spec_coverage.collect(texts).dangling, [])
        texts["tests/b_test.py"] = '"""Goal."""\n# No such ID.\nf("HD-99")\n'
        texts["src/ring/b_test.cc"] = 'TEST(Ring, B) {\n  f("HD-99");\n}\n'
        self.assertEqual(spec_coverage.collect(texts).dangling, [])
        texts["src/ring/b.h"] = "#pragma once\n/// HD-9.\nvoid h();\n"
        self.assertEqual(
            spec_coverage.collect(texts).dangling,
            ["src/ring/b.h:2: cites HD-9, which docs/REQUIREMENTS.md does not have"],
        )


if __name__ == "__main__":
    unittest.main()
