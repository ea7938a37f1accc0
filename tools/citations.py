# SPDX-License-Identifier: Apache-2.0
"""What comments and tests cite, for tools/spec_coverage.py: IDs of docs/REQUIREMENTS.md, clauses of
VIRTIO 1.3, and the attack classes; and what stands under a comment: a function, a class, a test.

`HD-1 to HD-4`, `HD-6, HD-7` and `VIRTIO 1.3, 2.7.5.1 to 2.7.5.3, 2.8.5` name each of their members.
"""

import ast
import re
from typing import NamedTuple

import cxx_scan

_ID = r"\b([A-Z]{2,4})-([A-Z]{0,2})(\d+)\b"
_ID_RANGE = re.compile(_ID + r"(?:\s*(?:to|\.\.)\s*(?:([A-Z]{2,4})-)?([A-Z]{0,2})(\d+)\b)?")
_CLAUSE = r"\d+(?:\.\d+)*(?![.\d]*\d)"
_CLAUSES = re.compile(
    rf"VIRTIO 1\.3[,:]?\s+({_CLAUSE}(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+to\s+)\d+\.{_CLAUSE})*)"
)
_TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P|RC_GTEST_PROP|"
                   r"RC_GTEST_FIXTURE_PROP)\s*\(\s*(\w+)\s*,\s*(\w+)", re.M)  # fmt: skip
# A class of attacks, src/testing/hostile_driver_case.h: a suite of one test and its instances.
_CLASS = re.compile(r"^AIRLOCK_HOSTILE_CLASS\s*\(\s*(\w+)", re.M)
_CLASS_TEST = "HasADefiniteEnd"
_INSTANCE = re.compile(
    r"^(?:INSTANTIATE_TEST_SUITE_P\s*\(\s*\w*\s*,|AIRLOCK_HOSTILE_CLASS\s*\()\s*(\w+)", re.M
)
_NO_SYMBOL = set("if for while switch return sizeof static_assert noexcept alignas".split())


_ATTACK = re.compile(r"\b[Aa]ttack class(?:es)? (\d+(?:(?:, (?:and )?| and | to )\d+)*)")
_NAMED = re.compile(r"\{\s*(?:\.name\s*=\s*)?\"([A-Z]\w+)\"")


class Citing(NamedTuple):
    """A place that cites: `name` is a test, a function or a class, or None for all of the file."""

    path: str
    name: str | None
    line: int
    text: str  # the comments (in a test: everything), on one line


def ids_in(text, prefixes):
    """The requirement IDs that `text` cites, ranges expanded, in the order in which they stand."""
    found = []
    for match in _ID_RANGE.finditer(text):
        prefix, kind, first, last_prefix, last_kind, last = match.groups()
        if prefix not in prefixes:
            continue
        numbers = [int(first)]
        same = last_prefix in (None, prefix) and (last_kind == kind or last_prefix is None)
        if last is not None and same and int(first) < int(last):
            numbers = range(int(first), int(last) + 1)
        found += [f"{prefix}-{kind}{number}" for number in numbers]
        if last is not None and not same and last_prefix in prefixes:
            found.append(f"{last_prefix}-{last_kind}{last}")
    return list(dict.fromkeys(found + _attacks_in(text)))


def _attacks_in(text):
    """`attack class 3` is ATK-3."""
    found = []
    for match in _ATTACK.finditer(text):
        for part in re.split(r", (?:and )?| and ", match.group(1)):
            first, _, last = part.partition(" to ")
            found += [f"ATK-{n}" for n in range(int(first), int(last or first) + 1)]
    return found


def clauses_in(text):
    """The clauses of VIRTIO 1.3 that `text` cites, as `2.7.13`, ranges expanded."""
    found = []
    for match in _CLAUSES.finditer(text):
        for part in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", match.group(1)):
            first, _, last = re.sub(r"\s+", " ", part).partition(" to ")
            stem, _, low = first.rpartition(".")
            last_stem, _, high = last.rpartition(".")
            if last and stem == last_stem and int(low) < int(high):
                found += [f"{stem}.{number}" for number in range(int(low), int(high) + 1)]
            else:
                found += [clause for clause in (first, last) if clause]
    return list(dict.fromkeys(found))


def words_of(text):
    """`text` on one line, without what opens and closes its comments."""
    lines = (re.sub(r"^\s*(?:///?|/\*+|\*/|\*|#)?\s*|\s*\*/\s*$", "", line)
             for line in text.split("\n"))  # fmt: skip
    return " ".join(line for line in lines if line)


# --- C and C++ --------------------------------------------------------------------------------


def _end_of_braces(masked, at):
    """Index one past the brace that closes the first one from `at` on."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(masked, at):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.end()
    return len(masked)


def _comment_blocks(comments, masked):
    """(first line, last line) of each run of lines that hold nothing but a comment."""
    blocks = []
    code = masked.split("\n")
    for number, line in enumerate(comments.split("\n")):
        if not line.strip() or code[number].strip():
            continue
        if blocks and blocks[-1][1] == number - 1:
            blocks[-1][1] = number
        else:
            blocks.append([number, number])
    return blocks


def _declared(code):
    """The name that the first declaration of `code` (masked) introduces, or None."""
    head = re.split(r"[;{=]|\)\s*(?:const)?\s*:", code.lstrip(), maxsplit=1)[0]
    head = re.sub(r"^(?:template\s*<[^>]*>|requires\s*\([^)]*\)|\[\[\w+\]\]|\s)+", "", head)
    named = re.match(r"(?:class|struct|enum(?:\s+class)?|union|concept)\s+(?:\[\[\w+\]\]\s*)?"
                     r"(?:\w+\(\w*\)\s+)?(\w+)", head)  # fmt: skip
    if named:
        return named.group(1)
    called = re.search(r"([A-Za-z_]\w*(?:::~?\w+)*)\s*\(", head)
    if called:
        return None if called.group(1) in _NO_SYMBOL else called.group(1)
    last = re.search(r"([A-Za-z_]\w*)\s*(?:\[[^\]]*\]\s*)*$", head)
    return last.group(1) if last and " " in head.strip() else None


class CxxFile:
    """A source of C or C++: what its comments cite, and what they stand above or in."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.masked = cxx_scan.mask(text)
        self.comments = cxx_scan.comments(text)
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.blocks = _comment_blocks(self.comments, self.masked)
        self.functions = cxx_scan.functions(self.masked)
        self.first_code = next(
            (n for n, line in enumerate(self.masked.split("\n")) if line.strip()), len(self.lines)
        )

    def line_at(self, offset):
        return self.text.count("\n", 0, offset)

    def block_above(self, line):
        """The comment that ends on the line above `line` (from 0); empty if there is none."""
        for first, last in self.blocks:
            if last == line - 1:
                return "\n".join(self.lines[first : last + 1])
        return ""

    def function_at(self, line):
        for function in self.functions:
            if function.first_line <= line + 1 <= function.last_line:
                return _declared(function.head + "{")
        return None

    def places(self):
        """Each comment that may cite: what it stands in, or what it stands above."""
        inside = {line for first, last in self.blocks for line in range(first, last + 1)}
        for first, last in self.blocks:
            name = None if last < self.first_code else self._symbol(first, last)
            yield Citing(self.path, name, first, words_of("\n".join(self.lines[first : last + 1])))
        for number, line in enumerate(self.comments.split("\n")):
            if line.strip() and number not in inside:  # behind code
                name = self.function_at(number) or _declared(self.masked[self.starts[number] :])
                yield Citing(self.path, name, number, words_of(line))

    def _symbol(self, first, last):
        return self.function_at(first) or _declared(self.masked[self.starts[last + 1] :])


def code_places(path, text):
    """What the comments of a source cite."""
    return list(CxxFile(path, text).places())


class _Test(NamedTuple):
    suite: str
    name: str
    first: int  # lines from 0
    last: int
    text: str  # with its comments
    code: str  # masked


def _tests_of(file):
    for match in _TEST.finditer(file.masked):
        end = _end_of_braces(file.masked, match.end())
        first = file.line_at(match.start())
        text = file.block_above(first) + "\n" + file.text[match.start() : end]
        code = file.masked[match.start() : end]
        yield _Test(match.group(1), match.group(2), first, file.line_at(end), text, code)
    for match in _CLASS.finditer(file.masked):
        line = file.line_at(match.start())
        yield _Test(match.group(1), _CLASS_TEST, line, line, file.block_above(line), "")
    if _TEST.search(file.masked) is None and file.path.endswith(".c"):
        for function in file.functions:  # kernel/tests: plain functions
            name = _declared(function.head + "{")
            first, last = function.first_line - 1, function.last_line - 1
            body = "\n".join(file.lines[first : last + 1])
            if name != "main":
                yield _Test("", name, first, last, file.block_above(first) + "\n" + body, body)


def names_in_tables(text):
    """The names of the rows `{"Name", ...}` of a source, in the order in which they stand."""
    return list(dict.fromkeys(_NAMED.findall(text)))


class Row(NamedTuple):
    """A row of a table that a parameterised test goes through."""

    name: str
    suite: str
    text: str


def rows_of(path, text):
    """The named rows of the tables that INSTANTIATE_TEST_SUITE_P takes, with their comments."""
    return list(_rows(CxxFile(path, text)))


def _rows(file):
    for match in _INSTANCE.finditer(file.masked):
        end = file.masked.find(";", match.end())
        spans = [(match.start(), end)]
        for symbol in set(re.findall(r"\bk[A-Z]\w+", file.masked[match.end() : end])):
            table = re.search(rf"\b{symbol}(?:\[\])?\s*(?:=\s*)?\{{", file.masked)
            if table:
                spans.append((table.start(), _end_of_braces(file.masked, table.start())))
        for start, stop in sorted(spans):
            yield from _rows_between(file, match.group(1), start, stop)


def _rows_between(file, suite, start, stop):
    """Each `{"Name", ...}` or `{.name = "Name", ...}` from `start` to `stop`."""
    opening = re.compile(r"\{\s*(?:\.name\s*=\s*)?\"")
    at = start
    while (match := opening.search(file.masked, at, stop)) is not None:
        end = _end_of_braces(file.masked, match.start())
        name = re.match(r"\w+", file.text[match.end() :])
        eol = file.text.find("\n", end)
        above = file.block_above(file.line_at(match.start()))
        if name:
            yield Row(name.group(), suite, words_of(above + "\n" + file.text[match.start() : eol]))
        at = end


def _cxx_tests(path, text):
    file = CxxFile(path, text)
    tests = list(_tests_of(file))
    rows = list(_rows(file))
    for test in tests:
        yield Citing(path, _name_of(test), test.first, words_of(test.text))
    for row in rows:
        yield Citing(path, f"{row.suite}/{row.name}", 0, row.text)
    sections = [place for place in file.places() if place.text.startswith("---")]
    for section, following in zip(sections, sections[1:] + [None]):
        for test in tests:
            if section.line < test.first and (following is None or test.first < following.line):
                yield section._replace(name=_name_of(test), text=_section_text(section))
    last_of = dict(file.blocks)
    heads = {test.first for test in tests}
    within = {line for test in tests for line in range(test.first, test.last + 1)}
    for place in file.places():
        above_a_test = last_of.get(place.line, place.line) + 1 in heads
        if place in sections or place.line in within or above_a_test:
            continue
        if place.line < file.first_code:
            yield place._replace(name=None)
        elif place.name and not any(place.text in row.text for row in rows):
            uses = re.compile(rf"\b{re.escape(place.name)}\b")
            for test in tests:
                if uses.search(test.code):
                    yield place._replace(name=_name_of(test))


def _section_text(section):
    """In the suites of the hostile driver, `--- 3: lengths ---` is attack class 3."""
    attack = re.match(r"--- (\d+): ", section.text)
    if attack and "hostile_driver" in section.path:
        return f"{section.text} attack class {attack.group(1)}"
    return section.text


def _name_of(test):
    return f"{test.suite}.{test.name}" if test.suite else test.name


# --- Python -----------------------------------------------------------------------------------


def _python_tests(path, text):
    lines = text.split("\n")
    tree = ast.parse(text)
    yield Citing(path, None, 0, words_of(ast.get_docstring(tree) or ""))

    def source(node):
        first = node.lineno - 1 - len(node.decorator_list)
        while first > 0 and lines[first - 1].strip().startswith("#"):
            first -= 1
        return words_of("\n".join(lines[first : node.end_lineno]))

    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                about = ast.get_docstring(cls) or ""
                yield Citing(path, f"{cls.name}.{node.name}", node.lineno,
                             words_of(about) + " " + source(node))  # fmt: skip


def test_places(path, text):
    """What the tests of a file cite: in their body, above it, in what they use, in the file's head.
    """
    return list(_python_tests(path, text) if path.endswith(".py") else _cxx_tests(path, text))


def has_tests(path, text):
    """True if a file holds tests of its own."""
    if path.endswith(".py"):
        return path.endswith("_test.py")
    return path.endswith(("_test.c", "_test.cc")) or _TEST.search(text) is not None
