#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/SPEC_COVERAGE.md: requirement -> code -> test, from what code and tests cite.

    python3 tools/spec_coverage.py             write the file
    python3 tools/spec_coverage.py --check     status 1 if it is stale, or a citation leads nowhere
    python3 tools/spec_coverage.py --missing   the requirements that no test names

IDs come from the tables of docs/REQUIREMENTS.md, clauses of VIRTIO 1.3 from the citations
themselves. Code is src/ and kernel/; a test is a GoogleTest or Python test that cites the ID in its
body, in the comment above it, in a helper or a fixture that it uses, or in the head of its file.
What binds nobody, and so needs no test, stands with its reason under "Not rules" in that document.
"""

import argparse
import os
import re
import sys
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import citations  # noqa: E402  (beside this file)
import tidy  # noqa: E402

TARGET = "docs/SPEC_COVERAGE.md"
SOURCE = "docs/REQUIREMENTS.md"
TEXT_MAX = 72  # characters of a requirement that the table repeats
NAMES_MAX = 12  # tests named for one requirement, before it says how many more there are
_CITES = re.compile(r"\b[A-Z]{2,4}-[A-Z]{0,2}\d|VIRTIO 1\.3|attack class", re.I)
_NOT_RULE = re.compile(
    r"^- (?:VIRTIO 1\.3, )?([A-Z]{2,4}-[A-Z]{0,2}\d+|\d+(?:\.\d+)*): (.*)$", re.M
)
_ROW = re.compile(r"^\| ([A-Z]{2,4}-[A-Z]{0,2}\d+) \|(.*)\|\s*$")


class Coverage(NamedTuple):
    """What cites what. The maps go from an ID or a clause to the places that cite it."""

    requirements: dict  # ID -> text, in the order of docs/REQUIREMENTS.md
    code: dict
    tests: dict
    not_rules: dict  # ID or clause -> why nothing has to test it
    dangling: list  # citations and exceptions that lead nowhere, as `place: message`


def requirements_of(text):
    """ID -> what it says, from every table whose first column is an ID."""
    found = {}
    for line in text.split("\n"):
        row = _ROW.match(line)
        if row:
            cells = [cell.strip() for cell in row.group(2).split("|")]
            about = " ".join(cell for cell in cells[:-1] if cell)
            found[row.group(1)] = f"{about}: {cells[-1]}" if about else cells[-1]
    return found


def not_rules_of(text):
    """ID or clause -> why it binds nobody: the list under `## Not rules`."""
    _, _, section = text.partition("\n## Not rules\n")
    section = section.partition("\n## ")[0].replace("\n  ", " ")  # a reason may go on
    return dict(_NOT_RULE.findall(section))


def is_support(path):
    """True for what only tests use: neither code that a requirement needs, nor a test."""
    name = os.path.basename(path)
    return (
        path.startswith(("src/testing/", "kernel/tests/"))
        or name.startswith("test_")
        or re.search(r"_(fuzz|bench|fixture)\.", name) is not None
    )


def may_cite(path, text):
    """False for a file that can be left unread, which is most of the time that this takes."""
    return "hostile_driver" in path or _CITES.search(text) is not None


def collect(texts):
    """The Coverage of `texts`, a map from repository path to text."""
    requirements = requirements_of(texts[SOURCE])
    prefixes = {name.split("-")[0] for name in requirements}
    code, tests, dangling = {}, {}, []
    for path in sorted(texts):
        if not path.startswith(("src/", "kernel/", "tests/")) or not may_cite(path, texts[path]):
            continue
        if citations.has_tests(path, texts[path]):
            places, target = citations.test_places(path, texts[path]), tests
        elif path.endswith((".h", ".cc", ".c")) and not is_support(path):
            places, target = citations.code_places(path, texts[path]), code
        else:
            continue
        for place in places:
            said = citations.ids_in(re.sub(r'"[^"]*"', "", place.text), prefixes)
            for name in citations.ids_in(place.text, prefixes):
                if name in said and name not in requirements:  # not a name that a test makes up
                    where = f"{path}:{place.line + 1}"
                    dangling.append(f"{where}: cites {name}, which {SOURCE} does not have")
                target.setdefault(name, []).append(place)
            for clause in citations.clauses_in(place.text):
                target.setdefault(clause, []).append(place)
    not_rules = not_rules_of(texts[SOURCE])
    for name in not_rules:
        if name in tests:
            dangling.append(f"{SOURCE}: {name} is no rule there, but a test cites it")
        elif name not in requirements and name not in code:
            dangling.append(f"{SOURCE}: {name} is no rule there, and nothing cites it")
    return Coverage(requirements, code, tests, not_rules, list(dict.fromkeys(dangling)))


def clauses_of(coverage):
    """Every clause of VIRTIO 1.3 that is cited, in the order of the specification."""
    cited = {name for name in (*coverage.code, *coverage.tests) if name[0].isdigit()}
    return sorted(cited, key=lambda clause: [int(part) for part in clause.split(".")])


def missing_of(coverage):
    """The requirements and the clauses that no test names, but should."""

    def untested(names):
        return [name for name in names
                if name not in coverage.tests and name not in coverage.not_rules]  # fmt: skip

    return untested(coverage.requirements), untested(clauses_of(coverage))


# --- the file ---------------------------------------------------------------------------------


def _code_cell(places):
    by_file = {}
    for place in places:
        names = by_file.setdefault(place.path, [])
        if place.name and place.name not in names:
            names.append(place.name)
    cells = []
    for path, names in sorted(by_file.items()):
        cells.append(f"`{path}`" + (f" ({', '.join(sorted(names))})" if names else ""))
    return ", ".join(cells) or "-"


def _test_cell(places):
    names = [
        place.name if place.name else f"all of `{os.path.basename(place.path)}`"
        for place in places
    ]
    names = sorted(set(names), key=lambda name: (name.startswith("all of"), name))
    more = len(names) - NAMES_MAX
    if more > 0:
        names = names[:NAMES_MAX] + [f"and {more} more"]
    return ", ".join(names) or "**none**"


def _tests_of(coverage, name):
    return "not a rule" if name in coverage.not_rules else _test_cell(coverage.tests.get(name, []))


def _clip(text):
    plain = text.replace("|", "/")
    if len(plain) <= TEXT_MAX:
        return plain
    return plain[:TEXT_MAX].rsplit(" ", 1)[0].rstrip(" ,;:") + " ..."


def _listed(title, names, count):
    share = f"{len(names)} of {count}"
    yield f"**{title}: {share} without a test**" + (f": {', '.join(names)}" if names else "")
    yield ""


def _by_test(coverage, title, prefix):
    """A table of the requirements whose ID begins so, with their tests only."""
    yield from ("", f"## {title}", "", "| ID | tests |", "|---|---|")
    for name in coverage.requirements:
        if name.startswith(prefix):
            yield f"| {name} | {_tests_of(coverage, name)} |"


def _not_rules(coverage):
    yield from ("", "## Not rules", "")
    yield from ("What REQUIREMENTS.md names or code cites, and binds nobody.", "")
    yield from ("| ID or clause | why nothing tests it |", "|---|---|")
    for name, why in coverage.not_rules.items():
        yield f"| {name} | {why.replace('|', '/')} |"


def lies_of(texts):
    """Each lie that src/testing/hostile_device*.cc can tell -> the tests that say how it ends."""
    tests = {}
    lies = []
    for path in sorted(texts):
        if path.endswith("_test.cc") and "INSTANTIATE_TEST_SUITE_P" in texts[path]:
            for row in citations.rows_of(path, texts[path]):
                tests.setdefault(row.name, []).append(f"{row.suite}/{row.name}")
        elif re.fullmatch(r"src/testing/hostile_device\w*\.cc", path):
            lies += citations.names_in_tables(texts[path])
    return {lie: sorted(set(tests.get(lie, []))) for lie in dict.fromkeys(lies)}


def _lies_table(texts):
    lies = lies_of(texts)
    yield from ("", "## The lies of the hostile device", "")
    untold = [lie for lie, tests in lies.items() if not tests]
    yield from _listed("Lies", untold, len(lies))
    yield from ("| lie | tests |", "|---|---|")
    for lie, tests in lies.items():
        yield f"| {lie} | {', '.join(tests) or '**none**'} |"


def render(coverage, texts):
    """The text of docs/SPEC_COVERAGE.md."""
    requirements, clauses = missing_of(coverage)
    lines = [
        "# Requirement coverage",
        "",
        "Generated by `./dev spec` from what code and tests cite; don't edit. IDs are those of",
        "[REQUIREMENTS.md](REQUIREMENTS.md), clauses those of VIRTIO 1.3.",
        "",
        *_listed("Requirements", requirements, len(coverage.requirements)),
        *_listed("Clauses that code cites", clauses, len(clauses_of(coverage))),
        "## Requirements",
        "",
        "| ID | requirement | code | tests |",
        "|---|---|---|---|",
    ]
    for name, text in coverage.requirements.items():
        code = _code_cell(coverage.code.get(name, []))
        lines.append(f"| {name} | {_clip(text)} | {code} | "
                     f"{_tests_of(coverage, name)} |")  # fmt: skip
    lines += ["", "## VIRTIO 1.3", "", "| clause | code | tests |", "|---|---|---|"]
    for clause in clauses_of(coverage):
        code = _code_cell(coverage.code.get(clause, []))
        lines.append(f"| {clause} | {code} | {_tests_of(coverage, clause)} |")
    lines += _not_rules(coverage)
    lines += _by_test(coverage, "A driver that does not trust its device", "HD-")
    lines += _lies_table(texts)
    lines += _by_test(coverage, "A device that does not trust its driver", "ATK-")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", default=os.path.join(os.path.dirname(__file__), ".."))
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="fail if the file is stale")
    action.add_argument("--missing", action="store_true", help="print what no test names")
    options = parser.parse_args()
    texts = tidy.read_tree(options.repo)
    coverage = collect(texts)
    if options.missing:
        requirements, clauses = missing_of(coverage)
        for name in requirements:
            print(f"{name}: {coverage.requirements[name]}")
        for name in clauses:
            print(f"VIRTIO 1.3, {name}")
        return 0
    text = render(coverage, texts)
    if options.check:
        for line in coverage.dangling:
            print(line, file=sys.stderr)
        stale = texts.get(TARGET) != text
        if stale:
            print(f"{TARGET}: stale: tests or citations changed: run ./dev spec", file=sys.stderr)
        return 1 if stale or coverage.dangling else 0
    path = os.path.join(options.repo, TARGET)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
