#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/tidy.py: each rule fires on a bad snippet and is silent on its good twin."""

import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cxx_scan  # noqa: E402
import tidy  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


def rules_of(texts):
    """The rules that fire on `texts`; sources count as listed unless a CMakeLists.txt is given."""
    tree = dict(texts)
    if not any(path.endswith("CMakeLists.txt") for path in tree):
        for root in ("src", "tests", "fuzz", "bench"):
            tree[f"{root}/CMakeLists.txt"] = "# SPDX-License-Identifier: Apache-2.0\nfile(GLOB x)\n"
    return [finding.rule for finding in tidy.check_tree(tree)]


class RuleTest(unittest.TestCase):
    def fires(self, rule, path, body, head=SPDX):
        self.assertEqual([rule], rules_of({path: head + body}), f"{path}: {body!r}")

    def silent(self, path, body, head=SPDX):
        self.assertEqual([], rules_of({path: head + body}), f"{path}: {body!r}")


class Layering(RuleTest):
    def test_a_folder_includes_only_folders_above_it(self):
        self.fires("layering", "src/shm/a.h", '#include "ring/split_queue.h"\n')
        self.silent("src/ring/a.h", '#include "shm/shared_bytes.h"\n')
        self.silent("src/ring/a.h", '#include "ring/b.h"\n')
        self.fires("layering", "src/base/a.h", '#include "core/range.h"\n')

    def test_core_includes_nothing_of_ours(self):
        dual = "// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only\n"
        self.fires("layering", "src/core/a.h", '#include "base/result.h"\n', dual)
        self.silent("src/core/a.h", '#include "core/range.h"\n#include <stdint.h>\n', dual)
        self.fires("library", "src/core/a.h", "#include <string>\n", dual)

    def test_driver_and_device_never_meet(self):
        self.fires("layering", "src/device/blk/a.h", '#include "driver/blk.h"\n')
        self.fires("layering", "src/driver/a_test.cc", '#include "device/blk/blk_device.h"\n')
        self.silent("src/device/blk/a.h", '#include "ring/device_queue.h"\n')

    def test_guard_needs_little(self):
        self.fires("layering", "src/guard/a.h", '#include "vfio_user/client.h"\n')
        self.silent("src/guard/a.h", '#include "window/window.h"\n#include "spec/vfio_user.h"\n')
        self.silent("src/guard/a_test.cc", '#include "vfio_user/client.h"\n')
        self.fires("library", "src/guard/a.h", "#include <asio.hpp>\n")

    def test_testing_is_for_tests(self):
        self.fires("layering", "src/ring/a.cc", '#include "testing/fake_driver.h"\n')
        for name in ("src/ring/a_test.cc", "src/ring/a_fuzz.cc", "src/ring/a_bench.cc"):
            self.silent(name, '#include "testing/fake_driver.h"\n')
        self.silent("tests/a.cc", '#include "testing/fake_driver.h"\n')

    def test_testing_includes_anything_but_cli_and_guard(self):
        self.silent("src/testing/a.h", '#include "driver/blk.h"\n#include "device/blk/b.h"\n')
        self.fires("layering", "src/testing/a.h", '#include "cli/options.h"\n')
        self.fires("layering", "src/testing/a.h", '#include "guard/guard.h"\n')

    def test_includes_are_written_from_the_root(self):
        self.fires("layering", "src/ring/a.cc", '#include "split_queue.h"\n')
        self.fires("layering", "src/ring/a.cc", '#include "../ring/split_queue.h"\n')
        self.fires("layering", "src/device/blk/a.cc", '#include "blk/blk_device.h"\n')
        self.fires("layering", "tests/a.cc", '#include "../src/ring/b.h"\n')

    def test_an_unknown_folder_is_no_floor(self):
        self.fires("layering", "src/utils/a.cc", '#include "base/fd.h"\n')

    def test_command_line_library_stays_in_cli(self):
        self.fires("library", "src/device/a.cc", "#include <CLI/CLI.hpp>\n")
        self.silent("src/cli/a.cc", "#include <CLI/CLI.hpp>\n")

    def test_the_kernel_module_has_its_own_includes(self):
        gpl = "// SPDX-License-Identifier: GPL-2.0-only\n"
        self.silent("kernel/a.c", '#include "a.h"\n#include "core/range.h"\n', gpl)


class Sizes(RuleTest):
    def test_line_length(self):
        self.silent("src/ring/a.h", "//" + "x" * 98 + "\n")
        self.fires("line", "src/ring/a.h", "//" + "x" * 99 + "\n")
        self.silent("src/ring/a.h", "//" + "\u00e9" * 98 + "\n")  # columns, not bytes

    def test_function_length(self):
        def function(lines):
            return "void f() {\n" + "  g();\n" * (lines - 2) + "}\n"

        self.silent("src/ring/a.cc", function(70))
        self.fires("function", "src/ring/a.cc", function(71))
        method = "namespace a {\nclass B {\n" + function(71) + "};\n}\n"
        self.fires("function", "src/ring/a.cc", method)
        excuse = "// tidy: allow function because one switch of all errors\n"
        self.silent("src/ring/a.cc", excuse + function(71))

    def test_long_classes_and_tables_are_no_functions(self):
        self.silent("src/ring/a.cc", "class A {\n" + "  int a;\n" * 90 + "};\n")
        self.silent("src/ring/a.cc", "const B kT[] = {\n" + "  {f(1), 2},\n" * 90 + "};\n")

    def test_file_length(self):
        self.silent("src/ring/a.h", "\n" * 249)
        self.fires("file", "src/ring/a.h", "\n" * 250)
        self.silent("src/ring/a.cc", "\n" * 599)
        self.fires("file", "src/ring/a.cc", "\n" * 600)


class Banned(RuleTest):
    def test_casts_belong_to_shm(self):
        bad = "auto* p = reinterpret_cast<Le32*>(q);\n"
        self.fires("cast", "src/ring/a.cc", bad)
        self.fires("cast", "src/ring/a.cc", "auto* p = const_cast<int*>(q);\n")
        self.silent("src/shm/a.cc", bad)
        self.silent("src/ring/a_test.cc", bad)
        self.silent("src/ring/a.cc", "// reinterpret_cast\nauto s = \"reinterpret_cast<int>\";\n")
        excuse = "// tidy: allow cast because the io_uring interface wants it\n"
        self.silent("src/backend/a.cc", excuse + bad)
        self.silent("src/backend/a.cc", bad.replace("\n", "  " + excuse))

    def test_an_excuse_needs_a_reason_and_the_right_rule(self):
        bad = "auto* p = reinterpret_cast<Le32*>(q);\n"
        self.fires("cast", "src/backend/a.cc", "// tidy: allow cast\n" + bad)
        self.fires("cast", "src/backend/a.cc", "// tidy: allow sleep because of x\n" + bad)

    def test_volatile(self):
        self.fires("volatile", "src/ring/a.cc", "volatile int x;\n")
        self.silent("src/shm/a.cc", "volatile int x;\n")
        self.silent("src/ring/a.cc", "volatile std::sig_atomic_t x;\n")
        self.silent("src/ring/a.cc", 'void f() { asm volatile("" ::: "memory"); }\n')

    def test_mmap(self):
        self.fires("mmap", "src/vfio_user/a.cc", "auto* p = ::mmap(nullptr, 1, 2, 3, 4, 5);\n")
        self.silent("src/vfio_user/a.cc", "auto p = window.mmap(1);\n")

    def test_calls(self):
        for rule, call in (
            ("string", "strcpy(a, b)"),
            ("string", "sprintf(a, b)"),
            ("parse", "atoi(a)"),
            ("random", "rand()"),
            ("random", "std::rand()"),
            ("shell", "system(a)"),
            ("sleep", "sleep(1)"),
            ("sleep", "::sleep(n)"),
            ("sleep", "usleep(1)"),
            ("sleep", "std::this_thread::sleep_for(1s)"),
            ("assert", "assert(a)"),
            ("throw", "throw 1"),
        ):
            self.fires(rule, "src/ring/a.cc", f"void f() {{ {call}; }}\n")
        good = ("snprintf(a, 1, b)", "operand(a)", "U::rand(a)", "file_system(a)", "sleep(a)")
        for call in good:
            self.silent("src/ring/a.cc", f"void f() {{ {call}; }}\n")
        self.silent("src/ring/a.cc", "static_assert(sizeof(int) == 4);\n")

    def test_a_test_may_not_sleep_either(self):
        self.fires("sleep", "tests/a_test.cc", "void f() { usleep(1); }\n")


class Overflow(RuleTest):
    def test_sum_in_a_comparison(self):
        for bad in (
            "if (offset + length > limit) {",
            "if (offset + length <= limit) {",
            "if (limit < offset + length) {",
            "if (a.offset + b->length() >= limit[2]) {",
            "if (offset + sizeof(Header) > limit) {",
            "if (offset + length + 1 > limit) {",
            "if (offset +\n      length >\n      limit) {",
        ):
            self.fires("overflow", "src/window/a.cc", f"void f() {{\n  {bad}}}\n}}\n")

    def test_good_twins(self):
        for good in (
            "if (range_within(offset, length, limit)) {",
            "if (length <= limit && offset <= limit - length) {",
            "if (index + 1 < count) {",
            "for (int i = a + b; i < c; ++i) {",
            'if (log << a + b) {',
        ):
            self.silent("src/window/a.cc", f"void f() {{\n  {good}}}\n}}\n")
        self.silent("src/window/a.cc", "static_assert(kA + kB <= kC);\n")
        self.silent("src/window/a_test.cc", "void f() { return a + b > c; }\n")

    def test_opt_out_needs_a_reason(self):
        body = "bool f() {{\n  // tidy: cannot overflow{}\n  return a + b > c;\n}}\n"
        self.silent("src/window/a.cc", body.format(" because both are 16 bits wide"))
        self.fires("overflow", "src/window/a.cc", body.format(""))


class Words(RuleTest):
    def test_licence(self):
        self.fires("licence", "src/ring/a.cc", "int a;\n", "")
        self.fires("licence", "src/ring/a.cc", "", "// SPDX-License-Identifier: MIT\n")
        self.fires("licence", "kernel/a.c", "")
        self.silent("kernel/a.h", "", "/* SPDX-License-Identifier: GPL-2.0-only */\n")
        self.fires("licence", "src/core/a.h", "")
        self.silent("src/core/a_test.cc", "")
        self.fires("licence", "tools/a", "true\n", "#!/bin/sh\n")
        self.silent("tools/a", "", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
        self.silent("README.md", "# Airlock\n", "")

    def test_spec_version(self):
        self.silent("src/ring/a.h", "// VIRTIO 1.3, 2.7.13\n")
        for name, version in (
            ("VIRTIO ", "1.2"),
            ("virtio-v", "1.1"),
            ("Virtio spec ", "1.2"),
            ("virtio ", "1.3"),
        ):
            self.fires("spec", "src/ring/a.h", f"// {name}{version}, 2.7.13\n")

    def test_unfinished(self):
        for bad in ("TO" + "DO", "FIX" + "ME", "X" + "XX"):
            self.fires("unfinished", "src/ring/a.h", f"// {bad}: later\n")
            self.fires("unfinished", "docs/a.md", f"{bad}\n")
        self.silent("src/ring/a.h", "// mkstemp wants XXXXXX, and Le16 kTodoMask\n")

    def test_machine_paths(self):
        for bad in ("/ho" + "me/me/a", "cd /wo" + "rk/a"):
            self.fires("path", "docs/a.md", bad + "\n")
        self.silent("docs/a.md", "build/wo" + "rk/a, at-ho" + "me/, ~/wo" + "rk/a\n")


class Build(RuleTest):
    LISTS = "# SPDX-License-Identifier: Apache-2.0\nairlock_test(a_test SOURCES {} DEPS ring)\n"

    def test_every_source_is_listed(self):
        for name, wanted in (("a_test.cc", []), ("b_a_test.cc", ["listed"]), ("b.cc", ["listed"])):
            tree = {
                "src/ring/CMakeLists.txt": self.LISTS.format("b_a_test.cc"),
                "src/ring/" + name: SPDX,
            }
            tree["src/ring/CMakeLists.txt"] = self.LISTS.format("a_test.cc")
            self.assertEqual(wanted, rules_of(tree), name)

    def test_a_subfolder_may_be_listed_above(self):
        tree = {
            "src/device/CMakeLists.txt": self.LISTS.format("blk/a_test.cc"),
            "src/device/blk/a_test.cc": SPDX,
        }
        self.assertEqual([], rules_of(tree))
        tree["src/device/blk/b_test.cc"] = SPDX
        self.assertEqual(["listed"], rules_of(tree))

    def test_no_list_at_all(self):
        tree = {"src/ring/a.cc": SPDX, "src/pool/CMakeLists.txt": self.LISTS.format("b.cc")}
        self.assertEqual(["listed"], rules_of(tree))

    def test_names(self):
        self.fires("name", "src/ring/SplitQueue.cc", "")
        self.silent("src/ring/split_queue.cc", "")


class GuestMemory(RuleTest):
    def test_nobody_sends_it(self):
        for name in ("READ", "WRITE"):
            command = f"VFIO_USER_DMA_{name}"
            for path, body in (
                ("src/vfio_user/a.cc", f"int f() {{ return send({command}); }}\n"),
                ("src/vfio_user/a.cc", f"const auto kC = {command};\n"),
                ("src/device/a.cc", f"bool f(int c) {{ return c == {command}; }}\n"),
            ):
                self.fires("guest-memory", path, body)

    def test_it_may_be_recognised_and_refused(self):
        for path, body in (
            ("src/vfio_user/a.cc", "bool f(int c) { return c == VFIO_USER_DMA_READ; }\n"),
            ("src/guard/a.cc", "void f() { switch (c) { case spec::VFIO_USER_DMA_READ: } }\n"),
            ("src/spec/a.h", "inline constexpr int VFIO_USER_DMA_READ = 11;\n"),
            ("src/vfio_user/a_test.cc", "int f() { return send(VFIO_USER_DMA_READ); }\n"),
        ):
            self.silent(path, body)


class Scanner(unittest.TestCase):
    def heads(self, text):
        return [function.head for function in cxx_scan.functions(text)]

    def test_mask_keeps_length_and_lines(self):
        text = "a /* {\n } */ \"}\\\"{\" R\"x({\")x\" '{' 1'000 // {\nb"
        masked = cxx_scan.mask(text)
        self.assertEqual(len(text), len(masked))
        self.assertEqual(text.count("\n"), masked.count("\n"))
        self.assertNotIn("{", masked)
        self.assertIn("1'000", masked)

    def test_constructor_with_brace_initialisers(self):
        text = "struct A {\n  A() : a_{1}, b_(2), c_{} {\n    f();\n  }\n  int v{3};\n};\n"
        self.assertEqual([(2, 4)], [f[:2] for f in cxx_scan.functions(text)])

    def test_kinds_of_functions(self):
        for text in (
            "bool operator==(const A& o) const { return true; }",
            "auto f() -> Result<int> { return 1; }",
            "template <class T> requires(c<T>) void f(T t = {}) noexcept { }",
            "struct iovec f(int a) { return {}; }",
            "const auto kL = [](int x) { return x; };",
            "TEST(Foo, Bar) { }",
        ):
            self.assertEqual(1, len(self.heads(text)), text)
        for text in (
            "namespace a { class B final : public C<int()> { int x; }; }",
            "enum class E : int { kA = f(1), kB };",
            "int a[] = {1, 2};",
            "const struct b a[] __used __section(x) = {{f(1)}};",
            "auto x = f(B{1});",
        ):
            self.assertEqual([], self.heads(text), text)

    def test_preprocessor_branches_need_not_balance(self):
        text = "#ifdef A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n}\nvoid g() {\n}\n"
        self.assertEqual([(2, 6), (7, 8)], [f[:2] for f in cxx_scan.functions(text)])


class CommandLine(unittest.TestCase):
    def run_tidy(self, repo):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tidy.py")
        command = [sys.executable, script, "--repo", repo]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_status_and_format(self):
        with tempfile.TemporaryDirectory() as repo:
            os.makedirs(os.path.join(repo, "src", "ring"))
            path = os.path.join(repo, "src", "ring", "a.h")
            with open(path, "w", encoding="utf-8") as file:
                file.write(SPDX)
            self.assertEqual(0, self.run_tidy(repo).returncode)
            with open(path, "a", encoding="utf-8") as file:
                file.write("inline int f() { return rand(); }\n")
            bad = self.run_tidy(repo)
            self.assertEqual(1, bad.returncode)
            self.assertTrue(bad.stdout.startswith("src/ring/a.h:2: random: "), bad.stdout)


if __name__ == "__main__":
    unittest.main()
