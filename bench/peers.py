#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Airlock and what else there is for the same purpose, on this machine and in one go.

Our device with our driver, in place and bounced, polling, sleeping and adaptive, directly and
through the guard; qemu-storage-daemon's vhost-user-blk driven by libblkio; the same file by pread
and pwrite, io_uring and mmap; a memcpy loop. Every round runs all of them in another order."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing but build/ and the results is written to

PROJECT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRLOCK", str(PROJECT / "build/bench/bin/airlock"))

from airlock_bench import (  # noqa: E402
    machine, plan, plots, report, results, runs, servers, targets)

EXAMPLE = """
examples:
  ./dev bench peers                            # all of it, about 11 minutes on an idle machine
  ./dev bench peers --quick                    # a few points, under 2 minutes
  ./dev bench peers --only null --point randread-4k-32 --rounds 9 --out /tmp
  ./dev bench peers --from bench/results/2026-11-21-peers.json   # its report and plots again
Writes DATE-peers.json, DATE-peers.md and DATE-peers-*.svg into bench/results/; with --quick, --only
or --point into build/peers/. Programs: build/bench/bin/airlock, or what AIRLOCK names; direct_bench
beside it, or DIRECT_BENCH; what bench/peers/build made in build/peers, or LIBBLKIO_BENCH.
Exit status: 0, 1 (nothing came of it, or runs failed), 2 (usage).
"""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"bench: usage: {message}: see ./dev bench peers --help", file=sys.stderr)
        sys.exit(2)


def parse(argv):
    parser = Parser(prog="./dev bench peers", description=__doc__, epilog=EXAMPLE,
                    allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer setups, points and rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each (5; quick: 3)")
    parser.add_argument("--runtime", type=float, metavar="SECONDS",
                        help="of a run (0.4; quick: 0.25): many short runs tell more than few long "
                        "ones, since it matters where the host puts our processors")
    parser.add_argument("--ramp", type=float, metavar="SECONDS", help="before a run (0.1)",
                        default=0.1)
    parser.add_argument("--only", action="append", metavar="TEXT",
                        help="setups with TEXT in their name, as --list has it; may be repeated")
    parser.add_argument("--point", action="append", choices=[p.name for p in plan.POINTS],
                        metavar="NAME", help="only this point; may be repeated")
    parser.add_argument("--list", action="store_true", help="print setups and points, run nothing")
    parser.add_argument("--no-qemu", action="store_true", help="without qemu-storage-daemon")
    parser.add_argument("--no-plots", action="store_true", help="without plots")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help="where results go")
    parser.add_argument("--from", dest="source", type=pathlib.Path, metavar="FILE",
                        help="write report and plots of earlier results, run nothing")
    parser.add_argument("--directory", type=pathlib.Path, default="/dev/shm", metavar="FOLDER",
                        help="on a tmpfs: the disk's file and sockets while it runs (/dev/shm)")
    parser.add_argument("--size", type=int, default=servers.DISK_BYTES >> 20, metavar="MIB",
                        help="of the disk (1024)")
    parser.add_argument("--server-cpu", type=int, default=1, metavar="N", help="(1)")
    parser.add_argument("--client-cpu", type=int, default=0, metavar="N", help="(0)")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.runtime = options.runtime or (0.25 if options.quick else 0.4)
    if options.rounds < 1 or options.runtime <= 0 or options.ramp < 0 or options.size < 1:
        parser.error("--rounds, --runtime and --size need a number above 0")
    if not options.source and not options.list and \
            not {options.server_cpu, options.client_cpu} <= os.sched_getaffinity(0):
        parser.error("--server-cpu and --client-cpu name processors that this machine has not")
    return options


def choose(options, programs):
    """The setups that are asked for and can be measured, with their points."""
    chosen = [setup for setup in plan.setups() if programs.can(setup)]
    if options.quick:
        chosen = list(plan.quick(chosen))
    if options.only:
        chosen = [setup for setup in chosen if any(text in setup.name for text in options.only)]
    if options.point:
        wanted = [point for point in plan.POINTS if point.name in options.point]
        chosen = [setup._replace(points=tuple(dict.fromkeys(
            at for at in (plan.at_depth(setup, point) for point in wanted) if at)))
            for setup in chosen]
    return [setup for setup in chosen if setup.points]


def find_programs(options):
    """What there is to measure with."""
    direct = pathlib.Path(os.environ.get("DIRECT_BENCH") or
                          servers.harness.AIRLOCK.parent / "peers/direct_bench")
    libblkio = pathlib.Path(os.environ.get("LIBBLKIO_BENCH") or
                            PROJECT / "build/peers/libblkio_bench")
    daemon = PROJECT / "build/lab/trixie/usr/bin/qemu-storage-daemon"
    qemu = not options.no_qemu and libblkio.exists() and daemon.exists()
    return runs.Programs(direct=direct if direct.exists() else None,
                         libblkio=libblkio if qemu else None)


def versions(programs):
    """What is measured, as it calls itself."""
    def git(*words):
        done = subprocess.run(["git", "-C", PROJECT, *words], capture_output=True, text=True,
                              check=False)
        return done.stdout.strip()
    found = {"airlock": git("describe", "--always", "--dirty") or "unknown"}
    if programs.libblkio:
        words = servers.harness.run(servers.TRIXIE, "qemu-storage-daemon", "--version").split()
        found["qemu-storage-daemon"] = words[2]
        library = PROJECT / "build/lab/trixie/usr/lib/x86_64-linux-gnu/pkgconfig/blkio.pc"
        found["libblkio"] = next(line.split()[1] for line in library.read_text().splitlines()
                                 if line.startswith("Version:"))
    return found


@contextlib.contextmanager
def disk_file(directory, size_bytes):
    """A file of that size on a tmpfs, all of it written; its folder goes at the end."""
    kind = servers.harness.run("stat", "--file-system", "--format=%T", directory).strip()
    if kind != "tmpfs":
        raise OSError(f"{directory}: it is on {kind}: give --directory a folder on a tmpfs")
    with tempfile.TemporaryDirectory(prefix="airlock-peers-", dir=directory) as folder:
        image = pathlib.Path(folder) / "disk.img"
        block = os.urandom(1 << 20)
        with open(image, "wb") as file:
            for _ in range(size_bytes >> 20):
                file.write(block)
        yield image


def measure(options, argv):
    """The results, as results.to_json() has them. Raises OSError."""
    programs = find_programs(options)
    chosen = choose(options, programs)
    if not chosen:
        raise OSError("nothing to measure: no setup has all of that, or its program is not there")
    for who in sorted({setup.who for setup in plan.setups() if not programs.can(setup)}):
        say(f"without {who}: its programs are not there")
    method = runs.Method(options.rounds, options.runtime, options.ramp, options.server_cpu,
                         options.client_cpu)
    count = sum(len(setup.points) for setup in chosen) * options.rounds
    say(f"{count} runs of {options.ramp + options.runtime:g} s")
    begin = datetime.datetime.now()
    with disk_file(options.directory, options.size << 20) as image, \
            servers.Servers(image.parent, image, options.server_cpu) as started:
        bench = runs.Bench(method, started, programs, image, say)
        made = bench.measure(chosen)
    about = {"date": begin.date().isoformat(), "command": " ".join(["./dev bench peers", *argv]),
             "machine": machine.describe(), "versions": versions(programs),
             "disk_bytes": options.size << 20}
    say(f"measured in {(datetime.datetime.now() - begin).total_seconds():.0f} s")
    return results.to_json(made, method, about, bench.failures, bench.repeated)


def say(line):
    print(f"bench: {line}", file=sys.stderr, flush=True)


def write(data, folder, with_plots):
    """Results, report and plots; the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{data['date']}-peers"
    data["targets"] = [verdict.to_json() for verdict in targets.judge(results.Results(data))]
    (folder / f"{stem}.json").write_text(results.dump(data))
    # As everybody else will read them: rounded.
    rounded = results.Results(json.loads(results.dump(data)))
    pictures = ()
    if with_plots:
        try:
            pictures = plots.draw(rounded, folder, stem)
        except ImportError:
            say("no plots: matplotlib is not there: tools/install-deps bench")
    (folder / f"{stem}.md").write_text(report.markdown(rounded, pictures))
    return folder / f"{stem}.md"


def main():
    argv = sys.argv[1:]
    options = parse(argv)
    if options.list:
        for setup in choose(options, runs.Programs(direct=True, libblkio=True)):
            print(f"{setup.name}: {' '.join(point.name for point in setup.points)}")
        return 0
    part = options.quick or options.only or options.point
    folder = options.out or PROJECT / ("build/peers" if part else "bench/results")
    try:
        if options.source:
            data = json.loads(options.source.read_text())
            folder = options.out or options.source.parent
        else:
            data = measure(options, argv)
        path = write(data, folder, not options.no_plots)
    except (OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(path)
    return 1 if data["failures"] or not data["results"] else 0


if __name__ == "__main__":
    sys.exit(main())
