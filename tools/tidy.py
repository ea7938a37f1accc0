#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks of the tree that neither the compiler nor clang-tidy makes. Standard library only.

    python3 tools/tidy.py --repo .   every finding as `file:line: rule: message`, status 1 if any
    python3 tools/tidy.py --list     the rules

A line that is right although a rule says otherwise carries its reason, on itself or on the line
above it:

    // tidy: cannot overflow because both are below kQueueSizeMax
    // tidy: allow cast because the kernel's sockaddr interface wants it
"""

import argparse
import os
import re
import subprocess
import sys
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cxx_scan  # noqa: E402  (beside this file)

FLOORS = (
    "base sandbox core dt spec shm crypt window ring iommu pool pci mmio wire vfio_user vhost_user "
    "driver backend device guard attach compare cli testing"
).split()
GUARD_NEEDS = {"base", "core", "sandbox", "shm", "spec", "window", "wire"}
CORE_HEADERS = {"stdint.h", "stddef.h", "stdbool.h", "limits.h", "assert.h"}
LINE_MAX = 100
FUNCTION_MAX = 70
HEADER_MAX = 250
SOURCE_MAX = 600
CXX = (".h", ".cc", ".c")
CODE_ROOTS = ("src/", "tests/", "bench/", "fuzz/")


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


class File:
    """One file of the tree, with the views of it that the rules share."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.is_cxx = path.endswith(CXX)
        self.is_kernel = path.startswith("kernel/")
        self.is_test = bool(
            re.search(r"_(test|fuzz|bench)\.(cc|c)$", path)
            or path.startswith(("tests/", "bench/", "fuzz/"))
        )
        parts = path.split("/")
        self.folder = parts[1] if parts[0] == "src" and len(parts) > 2 else None
        self.masked = cxx_scan.mask(text) if self.is_cxx else text
        self.masked_lines = self.masked.split("\n")

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def excused(self, line, words):
        """True if `line` or the one above it carries `tidy: <words> because <reason>`."""
        wanted = re.compile(r"tidy: " + re.escape(words) + r" because \S")
        return any(
            wanted.search(self.lines[number - 1]) for number in (line, line - 1) if number >= 1
        )

    def find(self, rule, pattern, message):
        """A finding for every match of `pattern` in the code that is not excused."""
        for match in re.finditer(pattern, self.masked):
            line = self.line_of(match.start())
            if not self.excused(line, f"allow {rule}"):
                yield Finding(self.path, line, rule, message.format(match.group().strip()))


# --- layering ---------------------------------------------------------------------------------


def quoted_includes(file):
    for number, line in enumerate(file.lines, 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if match:
            yield number, match.group(1)


def may_include(file, target):
    """Why `file` (of a folder of src/) may not include folder `target`; None if it may."""
    own = file.folder
    if target == own:
        return None
    if target == "testing":
        return None if file.is_test else "testing/ is for tests, fuzz targets and benchmarks only"
    if own == "core" and not file.is_test:
        return "core includes nothing of ours"
    if {own, target} == {"driver", "device"}:
        return "driver and device never include each other: they meet in ring/, pci/ and spec/"
    if own == "testing":
        return f"testing never includes {target}" if target in ("cli", "guard") else None
    is_fixture = file.path.endswith("_fixture.h")
    if own == "guard" and not (file.is_test or is_fixture) and target not in GUARD_NEEDS:
        return "guard needs " + ", ".join(sorted(GUARD_NEEDS)) + " only"
    if FLOORS.index(target) > FLOORS.index(own):
        return f"{own} may include only folders above it, and {target} is below"
    return None


def check_layering(file, tree):
    if not file.is_cxx or file.is_kernel:
        return
    for line, name in quoted_includes(file):
        target = name.split("/")[0]
        why = None
        if ".." in name.split("/"):
            why = f'"{name}": no "../", write it from the src root'
        elif file.folder is not None:
            if file.folder not in FLOORS:
                why = f"src/{file.folder} is no floor of the design"
            elif "/" not in name or target not in FLOORS:
                why = f'"{name}" is not written from the src root, as "ring/split_queue.h" is'
            else:
                why = may_include(file, target)
                why = f'"{name}": {why}' if why else None
        if why and not file.excused(line, "allow layering"):
            yield Finding(file.path, line, "layering", why)


LIBRARY_HOMES = (
    # include, folders that may not, or (negated) the only ones that may
    (r"CLI/", ("cli",), True, "CLI11 is for cli/ only (seconds of compile time a unit)"),
    (r"asio(\.hpp|/)", ("core", "guard"), False, "no Asio here: the least code faces the peer"),
    (r"nlohmann/", ("core", "guard"), False, "no JSON library here: the least code faces the peer"),
)


def check_libraries(file, tree):
    if not file.is_cxx or file.folder is None or file.is_test:
        return
    for number, line in enumerate(file.lines, 1):
        match = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
        if match is None:
            continue
        name = match.group(1)
        for pattern, folders, only_these, why in LIBRARY_HOMES:
            if re.match(pattern, name) and (file.folder in folders) != only_these:
                yield Finding(file.path, number, "library", f"<{name}>: {why}")
        if file.folder == "core" and name not in CORE_HEADERS and not name.startswith("linux/"):
            yield Finding(file.path, number, "library", f"<{name}>: core is freestanding C11")


# --- sizes ------------------------------------------------------------------------------------


def check_sizes(file, tree):
    if not file.is_cxx and not file.path.endswith(".py"):
        return
    for number, line in enumerate(file.lines, 1):
        width = len(line.expandtabs(8))
        # The kernel never breaks a message, so that it can be searched for.
        message = file.path.startswith("kernel/") and '"' in line
        if width > LINE_MAX and not message and not re.search(r"https?://\S{60,}", line):
            yield Finding(file.path, number, "line", f"{width} columns, at most {LINE_MAX}")
    if not file.is_cxx:
        return
    count = len(file.lines) - (1 if file.text.endswith("\n") else 0)
    most = HEADER_MAX if file.path.endswith(".h") else SOURCE_MAX
    if count > most:
        yield Finding(file.path, 1, "file", f"{count} lines, at most {most}: one purpose per file")
    for function in cxx_scan.functions(file.masked):
        length = function.last_line - function.first_line + 1
        if length > FUNCTION_MAX and not file.excused(function.first_line, "allow function"):
            name = function.head[:60]
            message = f"{length} lines, at most {FUNCTION_MAX}: {name}"
            yield Finding(file.path, function.first_line, "function", message)


# --- calls ------------------------------------------------------------------------------------

# What is banned; the folders of src/ where it is at home, and why it is there.
BANNED = (
    ("cast", r"\b(?:reinterpret|const)_cast\b",
     "{} outside shm/: shared memory is touched through SharedBytes only",
     {"shm": "the one place that casts shared memory",
      "base": "byte views of private memory and sockaddr",
      "wire": "sockaddr and control messages of the socket",
      "vhost_user": "sockaddr and control messages of the socket"}),
    ("volatile", r"(?<!asm )(?<!__asm__ )\bvolatile\b(?!\s+(?:std::)?sig_atomic_t)",
     "{} gives neither ordering nor atomic structs: use SharedBytes or std::atomic",
     {"shm": "the accessors themselves", "core": "the accessors themselves"}),
    ("mmap", r"(?<![\w.>])(?:::)?mmap\s*\(",
     "{}...) outside shm/: what is mapped is decided in one place",
     {"shm": "maps sealed memory, and BARs on the driver's side"}),
    ("string", r"\b(?:strcpy|strcat|sprintf|vsprintf|gets|strtok|stpcpy|alloca)\s*\(",
     "{}...) has no bound", {}),
    ("parse", r"\b(?:atoi|atol|atoll|atof|sscanf)\s*\(",
     "{}...) cannot report an error: use std::from_chars", {}),
    ("random", r"(?<![\w.>:])(?:std::)?s?rand\s*\(", "{}...): use getrandom or <random>", {}),
    ("shell", r"(?<![\w.>:])(?:std::|::)?(?:system|popen)\s*\(", "{}...) runs a shell", {}),
    ("tempfile", r"\b(?:tmpnam|tempnam|mktemp)\s*\(", "{}...) races: use mkstemp or memfd", {}),
    ("sleep", r"(?<![\w.>])::sleep\s*\(|(?<![\w.>:])sleep\s*\(\s*\d|"
     r"\b(?:usleep|nanosleep|clock_nanosleep|sleep_for|sleep_until)\s*\(",
     "{}...): wait for the event itself, with a deadline", {}),
    ("assert", r"(?<![\w.>])assert\s*\(",
     "{}...) is compiled away: CHECK for our own bugs, an Error for a peer's",
     {"core": "freestanding C, under NDEBUG for the provers"}),
    ("throw", r"\bthrow\b(?!\s*\()", "no exceptions of our own: return an Error",
     {"cli": "CLI11's way to refuse an option"}),
)  # fmt: skip
TESTS_MAY = {"cast", "throw"}  # a test faces no hostile peer


def check_banned(file, tree):
    if not file.is_cxx or file.is_kernel or not file.path.startswith(CODE_ROOTS):
        return
    for rule, pattern, message, homes in BANNED:
        if file.folder in homes or (file.is_test and rule in TESTS_MAY):
            continue
        yield from file.find(rule, pattern, message)


_OPERAND = r"[A-Za-z_][\w:.]*(?:->[\w.]+|\([^()]*\)|\[[^\[\]]*\])*"
_COMPARE = r"(?:>=|<=|>|<)"
_SUM_THEN_COMPARE = re.compile(rf"{_OPERAND}\s\+\s+{_OPERAND}(?:\s[-+]\s+[\w.:]+)*\s+{_COMPARE}\s")
_COMPARE_THEN_SUM = re.compile(rf"\s{_COMPARE}\s+{_OPERAND}\s\+\s+{_OPERAND}")


def check_overflow(file, tree):
    if not file.is_cxx or file.folder is None or file.is_test or file.folder == "testing":
        return
    for pattern in (_SUM_THEN_COMPARE, _COMPARE_THEN_SUM):
        for match in pattern.finditer(file.masked):
            statement = re.split(r"[;{}]", file.masked[: match.start()])[-1]
            if "static_assert" in statement or "template" in statement:
                continue
            line = file.line_of(match.end() - 1)
            first = file.line_of(match.start())
            if any(file.excused(n, "cannot overflow") for n in (first, line)):
                continue
            sum_text = " ".join(match.group().split())
            message = (
                f"`{sum_text}` may wrap: use range_within or __builtin_add_overflow, "
                "or say `// tidy: cannot overflow because ...`"
            )
            yield Finding(file.path, first, "overflow", message)


# --- words ------------------------------------------------------------------------------------


def licences_of(path):
    """The licences that a file may have."""
    if path.startswith("kernel/"):
        return ("GPL-2.0-only",)
    if path.startswith("src/core/"):
        dual = "Apache-2.0 OR GPL-2.0-only"
        return (dual,) if path.endswith((".h", ".c")) else (dual, "Apache-2.0")
    return ("Apache-2.0",)


def check_licence(file, tree):
    first = file.lines[0]
    is_script = first.startswith("#!")
    is_build = file.path.endswith((".cmake", "CMakeLists.txt"))
    if not (file.is_cxx or is_script or is_build or file.path.endswith((".py", ".pml"))):
        return
    top = file.lines[1] if is_script and len(file.lines) > 1 else first
    match = re.search(r"SPDX-License-Identifier: ([^*]+?)\s*(?:\*/)?$", top)
    wanted = licences_of(file.path)
    if match is None:
        message = f"no SPDX-License-Identifier: {wanted[0]} at the top"
        yield Finding(file.path, 1, "licence", message)
    elif match.group(1) not in wanted:
        yield Finding(file.path, 1, "licence", f"{match.group(1)} here, {wanted[0]} by LICENSES/")


# A clause such as VIRTIO-2.7.5.1 or VIRTIO-2.7/alignment is no version.
_SPEC_VERSION = re.compile(
    r"\b(?i:virtio)(?:[ -](?i:spec(?:ification)?))?[ -]?v?(\d\.\d+)\b(?!\.\d|/)")


def check_spec_version(file, tree):
    if not file.is_cxx and not file.path.endswith((".py", ".pml")):
        return
    for number, line in enumerate(file.lines, 1):
        for match in _SPEC_VERSION.finditer(line):
            if match.group() != "VIRTIO 1.3":
                message = f"`{match.group()}`: the one version that is cited is `VIRTIO 1.3`"
                yield Finding(file.path, number, "spec", message)


# Spelled in halves, so that this file passes its own check.
_UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
_MACHINE_PATH = re.compile(r"(?<![\w.~}$*)-])/(?:wo" + r"rk|ho" + r"me)/")


def check_words(file, tree):
    if file.path.startswith("LICENSE"):
        return
    for number, line in enumerate(file.lines, 1):
        unfinished = _UNFINISHED.search(line)
        if unfinished:
            message = f"{unfinished.group()}: finish it, or say in docs/ what is not done and why"
            yield Finding(file.path, number, "unfinished", message)
        if _MACHINE_PATH.search(line):
            yield Finding(file.path, number, "path", "the path of one machine")


# --- the build --------------------------------------------------------------------------------


def check_listed(file, tree):
    """Every source stands in the CMakeLists.txt nearest to it: a test nobody builds never fails."""
    if not file.path.startswith(CODE_ROOTS) or not file.path.endswith((".cc", ".c")):
        return
    folder = os.path.dirname(file.path)
    while folder:
        lists = tree.get(folder + "/CMakeLists.txt")
        if lists is not None:
            name = os.path.relpath(file.path, folder)
            listed = re.search(r"(?<![\w/.-])" + re.escape(name) + r"(?![\w.-])", lists.text)
            if not listed and not re.search(r"\bGLOB\b", lists.text):
                yield Finding(file.path, 1, "listed", f"not in {folder}/CMakeLists.txt")
            return
        folder = os.path.dirname(folder)
    yield Finding(file.path, 1, "listed", "no CMakeLists.txt in its folder or above")


_GUEST_MEMORY = re.compile(r"\bVFIO_USER_DMA_(?:READ|WRITE)\b")


def check_guest_memory(file, tree):
    """No code of ours sends DMA_READ or DMA_WRITE: outside spec/ they are only recognised."""
    if not file.is_cxx or file.folder in (None, "spec", "testing") or file.is_test:
        return
    for number, line in enumerate(file.masked_lines, 1):
        for match in _GUEST_MEMORY.finditer(line):
            before, after = line[: match.start()], line[match.end() :]
            recognised = (
                re.search(r"\bcase\s+(?:[\w:]+::)?$", before)
                or re.search(r"[!=]=\s*(?:[\w:]+::)?$", before)
                or re.match(r"\s*[!=]=", after)
            )
            if not recognised or file.folder not in ("core", "guard", "wire", "vfio_user"):
                message = f"{match.group()} asks for guest memory: it may be refused, never sent"
                yield Finding(file.path, number, "guest-memory", message)


def check_names(file, tree):
    if file.folder is None or not file.is_cxx:
        return
    name = os.path.basename(file.path)
    if not re.fullmatch(r"[a-z][a-z0-9_]*\.(h|cc|c)", name):
        yield Finding(file.path, 1, "name", f"{name} is not snake_case")


RULES = (
    check_layering,
    check_libraries,
    check_sizes,
    check_banned,
    check_overflow,
    check_licence,
    check_spec_version,
    check_words,
    check_listed,
    check_guest_memory,
    check_names,
)


def check_tree(texts):
    """All findings in `texts`, a map from repository path to text."""
    tree = {path: File(path, text) for path, text in texts.items()}
    findings = []
    for path in sorted(tree):
        for rule in RULES:
            findings.extend(rule(tree[path], tree))
    return findings


def list_files(repo):
    """The files of the tree: what git tracks or would track; everything but build/ without git."""
    command = ["git", "-C", repo, "ls-files", "-z", "-co", "--exclude-standard"]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode == 0:
        return [name for name in result.stdout.decode().split("\0") if name]
    names = []
    for folder, folders, files in os.walk(repo):
        folders[:] = [name for name in folders if name not in (".git", "build", "__pycache__")]
        names += [os.path.relpath(os.path.join(folder, name), repo) for name in files]
    return names


def read_tree(repo):
    texts = {}
    for name in list_files(repo):
        path = os.path.join(repo, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            data = file.read()
        if b"\0" in data or name.startswith("fuzz/seeds/"):
            continue
        texts[name] = data.decode("utf-8", errors="replace")
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repo", default=os.path.join(os.path.dirname(__file__), ".."))
    parser.add_argument("--list", action="store_true", help="print the rules and exit")
    parser.add_argument("path", nargs="*", help="print only findings in these files and folders")
    options = parser.parse_args()
    if options.list:
        print("\n".join(rule.__name__.removeprefix("check_") for rule in RULES))
        return 0
    texts = read_tree(options.repo)
    findings = check_tree(texts)
    if options.path:
        wanted = [os.path.relpath(path, options.repo) for path in options.path]
        findings = [f for f in findings if any((f.path + "/").startswith(w + "/") for w in wanted)]
    for finding in findings:
        print(finding)
    print(f"tidy: {len(texts)} files, {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
