# SPDX-License-Identifier: Apache-2.0
"""`./dev bench peers` and `vm`: their mathematics on numbers that are known, and the smallest run
of the first. Nothing here says how fast anything has to be."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import harness

sys.path.append(str(harness.REPO / "bench"))
from airlock_bench import machine, plan, report, results, runs, spread, targets  # noqa: E402
from airlock_net import measure as net_measure, report as net_report  # noqa: E402
from airlock_vm import measure as vm_measure, report as vm_report  # noqa: E402

METHOD = runs.Method(rounds=3, runtime=1, ramp=0, server_cpu=1, client_cpu=0)
ABOUT = {"date": "2000-01-01", "command": "./dev bench peers", "disk_bytes": 1 << 30,
         "machine": {"cpu": "a CPU", "cpus": 2, "memory_gib": 1, "kernel": "6.1"},
         "versions": {"airlock": "1"}}


def run_of(iops, block_bytes=4096, others=0.0, attempts=1):
    values = {"iops": iops, "gb_per_s": iops * block_bytes / 1e9, "p50_us": 1.0, "p99_us": 2.0,
              "p999_us": 3.0}
    return runs.Run(values, cpu_client=1.0, cpu_server=0.5, others=others, steal=0.0,
                    attempts=attempts)


def results_of(cells):
    """Of (setup, point) -> the IOPS of its runs, by way of the file."""
    made = {(setup, point): [run_of(iops, point.block_bytes) for iops in values]
            for (setup, point), values in cells.items()}
    data = results.to_json(made, METHOD, ABOUT, [], 0)
    return results.Results(json.loads(results.dump(data)))


class InAGuest(unittest.TestCase):
    """Of what a guest and the host's marks say, to a table."""

    POINT = "randread:4k:32"

    def console(self, disk, iops, error=0):
        fields = ["3", "fio", "run", "0", str(error), "0", "0", str(iops), "2000"] + ["0"] * 120
        return f"@@RUN {disk} {self.POINT} 1 {';'.join(fields)}@@\n"

    def marks(self, disk, qemu, device):
        return "".join(json.dumps({"mark": [side, disk, self.POINT, "1"], "qemu": at * qemu,
                                   "devices": {"7": at * device}}) + "\n"
                       for at, side in enumerate(("begin", "end")))

    def test_a_table(self):
        disks = ((vm_measure.SWIOTLB, 1000), (vm_measure.OURS, 1500))
        runs_made = vm_measure.runs_of(
            "".join(self.console(disk, iops) for disk, iops in disks),
            "".join(self.marks(disk, qemu=1.5, device=0.5) for disk, _ in disks))
        self.assertEqual([run.cpu_us for run in runs_made], [1000, 2e6 / 3000])
        data = vm_measure.summary(runs_made)
        self.assertEqual(vm_report.ratios(data, vm_measure.OURS, vm_measure.SWIOTLB),
                         {self.POINT: 1.5})
        text = vm_report.text(data | ABOUT | {"kernel": "6.12", "accelerator": "TCG", "rounds": 1,
                                              "seconds": 2, "size_mib": 64})
        self.assertIn("| 4k random read, depth 32 | 1.5 | 1 | met |", text)

    def test_a_table_of_cards(self):
        said = ["passt upload 10.00 10.50", "native upload 11.00 11.25", "passt download 1 2",
                "native download 2 4", "passt upload 20 20.5", "native upload 21 21.25"]
        data = net_measure.summary(said, mib=1)
        self.assertEqual(net_report.ratios(data, net_measure.NATIVE, net_measure.PASST),
                         {"download": 0.5, "upload": 2})
        text = net_report.text(data | ABOUT | {"kernel": "6.12", "accelerator": "TCG", "rounds": 2,
                                               "size_mib": 1})
        self.assertIn("| upload | 2 | 1 | met |", text)
        self.assertIn("| download | 0.5 | 1 | **missed** |", text)

    def test_an_error_of_fio_is_one(self):
        with self.assertRaisesRegex(RuntimeError, "error 5"):
            vm_measure.runs_of(self.console(vm_measure.OURS, 1, error=5), "")


class Maths(unittest.TestCase):
    def test_median_and_quartiles(self):
        self.assertEqual(spread.spread([5, 1, 3, 2, 4]), (3, 2, 4))
        self.assertEqual(spread.spread([4, 1, 3, 2]), (2.5, 1.75, 3.25))
        self.assertEqual(spread.spread([1, 3]), (2, 1.5, 2.5))
        self.assertEqual(spread.spread([7]), (7, 7, 7))
        with self.assertRaises(ValueError):
            spread.spread([])

    def test_ratios(self):
        self.assertEqual(spread.ratio(6, 4), 1.5)
        for value, to in ((None, 4), (6, None), (6, 0)):
            self.assertIsNone(spread.ratio(value, to))
        self.assertEqual(spread.seconds_per_gb(0.5, 4), 0.125)
        self.assertIsNone(spread.seconds_per_gb(None, 4))
        self.assertIsNone(spread.seconds_per_gb(0.5, 0))

    def test_a_cell(self):
        setup = targets.airlock("file")
        cell = results_of({(setup, plan.READ_1): [100, 300, 200]}).cell(setup, plan.READ_1)
        self.assertEqual(cell["iops"], {"median": 200, "q1": 150, "q3": 250})
        # 200 blocks of 4 KiB are 819.2 kB; a whole processor of the client's made one second of it.
        self.assertEqual(cell["client_cpu_s_per_gb"]["median"], 1220.7)
        self.assertEqual(cell["server_cpu_s_per_gb"]["median"], 610.35)
        self.assertEqual((cell["disturbed"], len(cell["runs"])), (0, 3))

    def test_the_best_of_several_is_compared_with(self):
        ours = targets.airlock("file")
        uring, threads = targets.qemu("file", plan.POLLING)
        numbers = results_of({(ours, plan.READ_1): [300], (uring, plan.READ_1): [100],
                              (threads, plan.READ_1): [200]})
        self.assertEqual(numbers.ratio(ours, (uring, threads), plan.READ_1), 1.5)
        self.assertEqual(numbers.ratio(ours, (uring,), plan.READ_1), 3)
        self.assertIsNone(numbers.ratio(ours, (uring,), plan.READ_32))
        self.assertIsNone(numbers.ratio(ours, targets.memcpy(), plan.READ_1))

    def test_what_has_no_depth_counts_at_every_depth(self):
        memcpy, = targets.memcpy()
        self.assertEqual(plan.at_depth(memcpy, plan.READ_32), plan.READ_1)
        self.assertIsNone(plan.at_depth(targets.airlock("null", waits=plan.ADAPTIVE),
                                        plan.BIG_READ))
        ours = targets.airlock("memory")
        numbers = results_of({(ours, plan.READ_32): [90], (memcpy, plan.READ_1): [100]})
        self.assertEqual(numbers.ratio(ours, (memcpy,), plan.READ_32), 0.9)


class Targets(unittest.TestCase):
    def verdict(self, cells, setup, what):
        found = [verdict for verdict in targets.judge(results_of(cells))
                 if verdict.target.setup == setup and what in verdict.target.what]
        self.assertEqual(len(found), 1, what)
        return found[0]

    def test_met_only_where_it_is_met_at_every_point(self):
        ours = targets.airlock("null")
        theirs, _ = targets.qemu("null", plan.POLLING, plan.SLEEPING)
        cells = {(ours, plan.READ_1): [500], (theirs, plan.READ_1): [100],
                 (ours, plan.READ_32): [5000], (theirs, plan.READ_32): [1000]}
        self.assertTrue(self.verdict(cells, ours, "5 times").met)
        cells[ours, plan.READ_32] = [4999]
        verdict = self.verdict(cells, ours, "5 times")
        self.assertFalse(verdict.met)
        self.assertEqual(verdict.missed, [plan.READ_32])

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        verdict = self.verdict({}, targets.airlock("null"), "5 times")
        self.assertIsNone(verdict.met)
        self.assertEqual(verdict.missed, [])

    def test_each_names_setups_that_are_measured_there(self):
        everything = plan.setups()
        for target in targets.targets():
            for setup in (target.setup, *target.to):
                self.assertIn(setup, everything)
                for point in target.points:
                    self.assertIsNotNone(plan.at_depth(setup, point), (setup.name, point.name))
            self.assertTrue(target.to)


class Scripted(runs.Bench):
    """A measurement whose runs are given: what else ran during each, or None for a failure."""

    def __init__(self, method, script):
        super().__init__(method, None, None, __file__, lambda line: None)
        self.script = script

    def _run(self, setup, point):
        others = self.script.pop(0)
        if others is None:
            raise runs.Failed("it did not work")
        return run_of(100, others=others)


class Rounds(unittest.TestCase):
    def measure(self, script, rounds=4):
        setup = targets.airlock("null")._replace(points=(plan.READ_1,))
        bench = Scripted(METHOD._replace(rounds=rounds), script)
        return bench, bench.measure([setup])[setup, plan.READ_1]

    def test_undisturbed_runs_are_made_once(self):
        bench, made = self.measure([0, 0.01, 0.02, 0])
        self.assertEqual([run.others for run in made], [0, 0.01, 0.02, 0])
        self.assertEqual(bench.repeated, 0)

    def test_a_disturbed_run_is_made_again_and_the_better_one_kept(self):
        bench, made = self.measure([0, 0.5, 0.1, 0, 0])
        self.assertEqual([run.others for run in made], [0, 0.1, 0, 0])
        self.assertEqual([run.attempts for run in made], [1, 2, 1, 1])
        self.assertEqual((bench.repeated, bench.script), (1, []))

    def test_what_is_made_again_is_bounded(self):
        bench, made = self.measure([0.5, 0.6, 0.5, 0.5, 0.5])
        self.assertEqual([run.others for run in made], [0.5] * 4)
        self.assertEqual(bench.repeated, 1)

    def test_a_failure_is_told_and_the_rest_goes_on(self):
        bench, made = self.measure([0, None, 0, 0])
        self.assertEqual(len(made), 3)
        self.assertEqual(bench.failures, [{"setup": "airlock/null/in-place/polling",
                                           "point": "randread-4k-1", "why": "it did not work"}])

    def test_a_process_that_is_gone_used_nothing(self):
        with subprocess.Popen(["true"]) as gone:
            gone.wait()
        self.assertEqual(machine.cpu_seconds(gone.pid), 0)
        self.assertGreater(machine.others_cpu_seconds({os.getpid()}), 0)


class Smallest(unittest.TestCase):
    """The command itself, with every kind of program that is there."""

    ONLY = ("airlock/null/in-place/polling", "airlock/null/in-place/adaptive", "sleeping/guarded",
            "airlock/file/bounced/sleeping", "direct/", "qemu/null", "qemu/file/io_uring")

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-bench-")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def bench(self, *arguments):
        processors = sorted(os.sched_getaffinity(0))
        return subprocess.run(
            [sys.executable, "-B", harness.REPO / "bench/peers.py", "--no-plots", "--out",
             self.directory, "--server-cpu", str(processors[-1]), "--client-cpu",
             str(processors[0]), *map(str, arguments)],
            capture_output=True, text=True, timeout=300, check=False)

    def test_one_point(self):
        only = [word for text in self.ONLY for word in ("--only", text)]
        done = self.bench("--point", "randread-4k-32", *only, "--rounds", 2, "--runtime", 0.02,
                          "--ramp", 0.01, "--size", 16)
        self.assertEqual(done.returncode, 0, done.stderr)
        markdown = pathlib.Path(done.stdout.strip())
        data = json.loads(markdown.with_suffix(".json").read_text())
        self.check_json(data)
        self.check_markdown(markdown.read_text(), data)
        self.assertEqual(sorted(os.listdir(self.directory)),
                         [markdown.with_suffix(".json").name, markdown.name])

        again = self.directory / "again"
        done = self.bench("--from", markdown.with_suffix(".json"), "--out", again)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((again / markdown.name).read_text(), markdown.read_text())

    def check_json(self, data):
        self.assertEqual(data["failures"], [])
        self.assertEqual(data["method"]["rounds"], 2)
        names = {cell["setup"]["name"] for cell in data["results"]}
        self.assertLessEqual({"airlock/null/in-place/polling", "airlock/null/in-place/adaptive",
                              "airlock/file/bounced/sleeping", "direct/memory/memcpy",
                              "airlock/memory/in-place/sleeping/guarded", "direct/file/pread",
                              "direct/file/mmap", "direct/file/io_uring"}, names)
        self.assertEqual("qemu/file/io_uring/polling" in names, "libblkio" in data["versions"])
        for cell in data["results"]:
            self.assertEqual(len(cell["runs"]), 2)
            for value in ("iops", "gb_per_s", "p50_us", "p99_us", "p999_us"):
                low, median, high = (cell[value][key] for key in ("q1", "median", "q3"))
                self.assertTrue(0 < low <= median <= high, (cell["setup"]["name"], value))
            for run in cell["runs"]:
                self.assertAlmostEqual(run["gb_per_s"] / (run["iops"] * 4096 / 1e9), 1, places=3)
                self.assertLessEqual(run["p50_us"], run["p99_us"])
                self.assertLessEqual(run["p99_us"], run["p999_us"])
                self.assertGreaterEqual(run["others"], 0)
            self.assertIsNotNone(cell["client_cpu_s_per_gb"])
            self.assertEqual(cell["server_cpu_s_per_gb"] is None, cell["setup"]["who"] == "direct")

    def check_markdown(self, text, data):
        self.assertIn("## Targets", text)
        self.assertRegex(text, r"\| airlock null, in place, adaptive: within 10 % of polling \|"
                               r" 4k read 32: [0-9.]+ \| 0\.9 \| (met|\*\*missed\*\* at 1 of 1) \|")
        table = text[text.index("## 4k random read, depth 32"):]
        for cell in data["results"]:
            row = rf"\| {re.escape(cell['setup']['title'])}( !\d+)? \| [0-9.]+ \[[0-9.]+-[0-9.]+\]"
            self.assertRegex(table, row)
        # What has no depth was measured at depth 1, and stands there as well.
        self.assertEqual(re.findall("^## (.*)", text, re.MULTILINE),
                         ["Targets", "4k random read, depth 1", "4k random read, depth 32"])

    def test_a_ramp_is_not_counted(self):
        with harness.Device("blk", "--backend", "null:16M", "--poll-max", "0us",
                            directory=self.directory) as device:
            done = harness.airlock("blk", "bench", "--device", f"vfio-user:{device.socket}",
                                   "--poll-max", "0us", "--ramp", "200ms", "--runtime", "50ms",
                                   "--json")
        counted = json.loads(done.stdout)
        # One at a time, none needs more than one; those of the ramp would be four times as many.
        self.assertGreater(counted["requests"], 0)
        self.assertLessEqual(counted["notifications"], counted["requests"])
        self.assertLessEqual(counted["copies_per_request"], 1)

    def test_usage(self):
        for arguments in (("--rounds", "-1"), ("--point", "nothing"), ("--server-cpu", 4096),
                          ("--runtime", "fast")):
            done = self.bench(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertRegex(done.stderr, r"\Abench: usage: .+: see .+ --help\n\Z")

    def test_nothing_to_measure(self):
        done = self.bench("--only", "nothing")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing to measure", done.stderr)

    def test_a_disk_that_is_not_in_memory_is_refused(self):
        kind = harness.run("stat", "--file-system", "--format=%T", harness.REPO).strip()
        if kind == "tmpfs":
            self.skipTest("this tree is on a tmpfs")
        done = self.bench("--only", "direct", "--directory", harness.REPO)
        self.assertEqual(done.returncode, 1)
        self.assertIn("tmpfs", done.stderr)


class Report(unittest.TestCase):
    def test_what_was_disturbed_is_marked(self):
        setup = targets.airlock("null")
        made = {(setup, plan.READ_1): [run_of(100, others=0.5, attempts=2), run_of(100),
                                       run_of(100)]}
        failures = [{"setup": "a", "point": "b", "why": "c"}]
        data = results.to_json(made, METHOD, ABOUT, failures, 1)
        text = report.markdown(results.Results(data), [("plot.svg", "a plot")])
        self.assertIn("| airlock null, in place, polling !1 | 0.1 [0.1-0.1] |", text)
        self.assertIn("3 runs are counted. 1 were made again", text)
        self.assertIn("![a plot](plot.svg)", text)
        self.assertIn("- a b: c", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
