#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/prove.py: what did not prove anything may not be called proved."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import prove  # noqa: E402

FILE = """
 * proof: walk --unwind 3
 * twin: walk BROKEN_BOUND: it ends
#ifdef BROKEN_BOUND
"""


def cbmc(*claims):
    result = [{"description": what, "status": status} for what, status in claims]
    return json.dumps([{"program": "CBMC"}, {"result": result}])


class Declarations(unittest.TestCase):
    def test_a_proof_and_its_twin(self):
        proof, twin = prove.read_checks("models/cbmc/x.c", FILE)
        self.assertEqual(("walk", ("--unwind", "3"), None), proof[1:4])
        self.assertEqual(("BROKEN_BOUND", "it ends"), (twin.broken, twin.claim))
        self.assertEqual(proof.options, twin.options)

    def test_a_proof_needs_a_twin(self):
        with self.assertRaises(ValueError):
            prove.read_checks("x.c", " * proof: walk\n")

    def test_a_twin_needs_its_proof_and_something_that_it_breaks(self):
        for text in (
            FILE.replace("twin: walk", "twin: talk"),
            FILE.replace("#ifdef BROKEN_BOUND", ""),
            FILE.replace(": it ends", ""),
        ):
            with self.assertRaises(ValueError):
                prove.read_checks("x.c", text)

    def test_what_the_tree_declares_can_be_read(self):
        self.assertGreater(len(prove.find_checks([])), 40)
        with self.assertRaises(ValueError):
            prove.find_checks(["no_such_proof"])


class Answers(unittest.TestCase):
    def test_of_cbmc(self):
        self.assertEqual((), prove.cbmc_outcome(cbmc(("a", "SUCCESS")), 0).refuted)
        self.assertEqual(("b",), prove.cbmc_outcome(cbmc(("b", "FAILURE")), 10).refuted)

    def test_of_cbmc_that_are_none(self):
        for output, status in (
            ("syntax error", 6),
            (cbmc(("a", "SUCCESS")), 6),
            (cbmc(("a", "SUCCESS")), 10),
            (cbmc(("a", "FAILURE")), 0),
            (cbmc(("a", "UNKNOWN")), 0),
            (json.dumps([{"program": "CBMC"}]), 0),
        ):
            with self.assertRaises(prove.Unusable):
                prove.cbmc_outcome(output, status)

    def test_of_spin(self):
        good = "State-vector 84 byte, depth reached 5, errors: 0\n"
        bad = "pan:1: assertion violated  !(lost) (at depth 7)\n" + good.replace(": 0", ": 1")
        self.assertEqual((), prove.spin_outcome(good, 0).refuted)
        self.assertIn("!(lost)", prove.spin_outcome(bad, 0).refuted[0])

    def test_of_spin_that_are_none(self):
        good = "depth reached 5, errors: 0\n"
        for output, status in (
            ("", 0),
            (good, 1),
            ("error: max search depth too small\n" + good, 0),
            ("Warning: Search not completed\n" + good, 0),
        ):
            with self.assertRaises(prove.Unusable):
                prove.spin_outcome(output, status)


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.proof, self.twin = prove.read_checks("x.c", FILE)

    def test_a_proof_must_hold(self):
        self.assertIsNone(prove.verdict(self.proof, prove.Outcome(())))
        self.assertIn("it ends", prove.verdict(self.proof, prove.Outcome(("it ends",))))

    def test_a_twin_must_fail_and_where_it_was_broken(self):
        self.assertIsNone(prove.verdict(self.twin, prove.Outcome(("x", "it ends"))))
        self.assertIn("not refuted", prove.verdict(self.twin, prove.Outcome(())))
        self.assertIn("but not in", prove.verdict(self.twin, prove.Outcome(("x",))))

    def test_every_place_is_reached_by_some_proof_and_every_proof_reaches_one(self):
        one = prove.Outcome((), ("reached: b",), ("reached: a",))
        two = prove.Outcome((), ("reached: a",), ("reached: b",))
        none = prove.Outcome((), ("reached: a",), ())
        self.assertIsNone(prove.verdict_of_reach({"one": one, "two": two}))
        self.assertIn("reached: b", prove.verdict_of_reach({"one": one}))
        self.assertIn("reaches nothing", prove.verdict_of_reach({"one": one, "none": none}))


if __name__ == "__main__":
    unittest.main()
