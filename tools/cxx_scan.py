# SPDX-License-Identifier: Apache-2.0
"""A light reading of C and C++ text for tools/tidy.py: no parser, but enough to find functions.

`mask` blanks comments and literals, so that a rule never fires inside them; `functions` finds the
bodies of functions with a brace counter that knows namespaces, classes and initialisers.
"""

import re
from typing import NamedTuple


class Function(NamedTuple):
    first_line: int  # of the head (template line, return type), from 1
    last_line: int  # of the closing brace
    head: str


_TOKEN = re.compile(
    r"""
    (?P<raw>(?:u8|[uUL])?R"(?P<delim>[^()\\\s]{0,16})\()
  | (?P<line>//)
  | (?P<block>/\*)
  | (?P<string>")
  | (?P<number>\b\d[\w.']*)
  | (?P<char>')
    """,
    re.VERBOSE,
)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def _end_of_token(text, match):
    """Index one past the comment or literal that `match` opens."""
    kind = match.lastgroup if match.lastgroup != "delim" else "raw"
    if match.group("raw"):
        close = ")" + match.group("delim") + '"'
        end = text.find(close, match.end())
        return len(text) if end < 0 else end + len(close)
    if kind == "block":
        end = text.find("*/", match.end())
        return len(text) if end < 0 else end + 2
    if kind == "line":
        end = re.compile(r"(?<!\\)\n").search(text, match.end())
        return len(text) if end is None else end.start()
    quote = text[match.start()]
    end = re.compile(r"(?:\\.|[^\\\n" + quote + r"])*" + quote + "?", re.S).match(text, match.end())
    return end.end()


def mask(text):
    """`text` with comments and the insides of literals blanked; same length, same lines."""
    out = []
    at = 0
    while True:
        match = _TOKEN.search(text, at)
        if match is None:
            out.append(text[at:])
            return "".join(out)
        out.append(text[at : match.start()])
        if match.group("number"):
            out.append(match.group())  # a digit separator is not a character literal
            at = match.end()
            continue
        end = _end_of_token(text, match)
        if match.group("line") or match.group("block"):
            out.append(_blank(text[match.start() : end]))
        else:
            inside = _blank(text[match.start() + 1 : end - 1])
            out.append('"' + inside + '"' if end - match.start() > 1 else " ")
        at = end


def comments(text):
    """`text` with everything but comments blanked; same length, same lines."""
    out = []
    at = 0
    while True:
        match = _TOKEN.search(text, at)
        if match is None:
            out.append(_blank(text[at:]))
            return "".join(out)
        out.append(_blank(text[at : match.start()]))
        end = match.end() if match.group("number") else _end_of_token(text, match)
        piece = text[match.start() : end]
        is_comment = match.group("line") or match.group("block")
        out.append(piece if is_comment else _blank(piece))
        at = end


def _drop_preprocessor(masked):
    """Blanks directives, and every #else branch whose braces do not balance by themselves."""
    lines = masked.split("\n")
    branch_starts = []  # one entry per open #if: start line of the current #else branch, or None
    index = 0
    while index < len(lines):
        directive = re.match(r"\s*#\s*(\w+)", lines[index])
        if directive is None:
            index += 1
            continue
        name = directive.group(1)
        if name in ("elif", "else", "endif") and branch_starts:
            start = branch_starts[-1]
            if start is not None:
                branch = "\n".join(lines[start:index])
                if branch.count("{") != branch.count("}"):
                    lines[start:index] = [""] * (index - start)
            branch_starts[-1] = index + 1
        if name in ("if", "ifdef", "ifndef"):
            branch_starts.append(None)
        elif name == "endif" and branch_starts:
            branch_starts.pop()
        while lines[index].endswith("\\") and index + 1 < len(lines):
            lines[index] = ""
            index += 1
        lines[index] = ""
        index += 1
    return "\n".join(lines)


def _flatten(head):
    """`head` with the insides of (), [] and <> removed, so that only its own words are left."""
    head = re.sub(r"\boperator\s*(\(\)|\[\]|[^\s\w(]+|\w+)", "operator_", head)
    for pattern, empty in ((r"\([^()]*\)", "\0"), (r"\[[^\[\]]*\]", "\1"), (r"<[^<>;{}]*>", " ")):
        while True:
            shorter = re.sub(pattern, empty, head)
            if shorter == head:
                break
            head = shorter
    return head.replace("\0", "()").replace("\1", "[]").strip()


_SCOPE = re.compile(
    r'\b(namespace|enum|concept)\b|^extern\s+"|'
    r"\b(class|struct|union)\b(\s*(\[\]|\w+\(\)))*[\s\w:]*(:[^:()].*)?$"
)


def _kind(head):
    """What the brace after `head` opens: 'scope', 'function', 'init' (of a member) or 'other'."""
    flat = _flatten(head)
    if not flat:
        return "other"
    if "()" not in flat and "[]" not in flat or re.search(r"\b(namespace|enum)\b", flat):
        return "scope" if _SCOPE.search(flat) else "other"
    if re.search(r"\b(class|struct|union)\b[^()]*(:[^:].*)?$", flat) and not flat.endswith(")"):
        tail = flat[flat.rfind(")") + 1 :]
        if re.search(r"\b(class|struct|union)\b", tail):
            return "scope"
    if "=" in flat:  # an initialiser, or a lambda at namespace scope
        return "function" if re.match(r"\s*\[\]", flat[flat.rfind("=") + 1 :]) else "other"
    after = flat[flat.rfind("()") + 2 :] if "()" in flat else ""
    initialising = re.search(r"\)\s*(noexcept\s*)?:[^:]", flat.replace("::", "  "))
    if initialising and re.search(r"[\w>]$", flat) and not re.search(r"\btry$", after):
        return "init"
    return "function" if "()" in flat else "other"


def functions(text):
    """Every function of `text` (masked or not) with a body, outermost only."""
    body = _drop_preprocessor(mask(text))
    found = []
    stack = []  # (kind, head, first line)
    head_start = 0
    parens = 0
    for at, char in enumerate(body):
        inside = stack and stack[-1][0] in ("function", "other", "init")
        if char in "()" and not inside:
            parens += 1 if char == "(" else -1
        elif char == "{":
            if inside or parens > 0:
                stack.append(("other", "", 0))
                continue
            head = re.sub(r"^\s*(?:(?:public|private|protected)\s*:\s*)*", "", body[head_start:at])
            first = body.count("\n", 0, at - len(head)) + 1
            kind = _kind(head)
            stack.append((kind, head, first))
            if kind != "init":
                head_start = at + 1
        elif char == "}" and stack:
            kind, head, first = stack.pop()
            if kind == "function":
                found.append(Function(first, body.count("\n", 0, at) + 1, " ".join(head.split())))
            still_inside = stack and stack[-1][0] in ("function", "other", "init")
            if kind != "init" and not still_inside and parens <= 0:
                head_start = at + 1
        elif char == ";" and not inside and parens <= 0:
            head_start = at + 1
    return found
