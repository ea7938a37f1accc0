# SPDX-License-Identifier: Apache-2.0
"""The measurement: every setup at every point, in several rounds, each in an order of its own."""

import json
import math
import os
import random
import subprocess
import time
from typing import NamedTuple

from . import machine
from .plan import IN_PLACE, MEMCPY, POLLING, READ_PERCENT
from .servers import TRIXIE, airlock_waits, harness, pids_of

VALUES = ("iops", "gb_per_s", "p50_us", "p99_us", "p999_us")
CLIENT_SECONDS_MOST = 30  # beyond its run: libblkio never gives up a server that is gone
OTHERS_MOST = 0.05  # of one processor: a run with more beside it is made again
AGAIN_PART = 0.25  # of the runs so far that may be made again because of that


class Failed(Exception):
    """A run that came to nothing."""


class Programs(NamedTuple):
    """What measures; None: not there, and what needs it is left out."""

    direct: object
    libblkio: object

    def can(self, setup):
        return {"airlock": True, "qemu": self.libblkio, "direct": self.direct}[setup.who]


class Method(NamedTuple):
    """How it is measured."""

    rounds: int
    runtime: float  # seconds, as all times here
    ramp: float  # before it, and not measured
    server_cpu: int
    client_cpu: int
    others_most: float = OTHERS_MOST
    seed: int = 1


class Run(NamedTuple):
    """What one run gave. `cpu_client`, `cpu_server`: the part of a processor that each side used;
    None: not told. `others`: what all other processes of the machine used beside it, `steal` what
    its host took away."""

    values: dict
    cpu_client: float
    cpu_server: float
    others: float
    steal: float
    attempts: int = 1

    def disturbed(self, most):
        return max(self.others, self.steal) > most


def client_words(setup, point, method, server, programs, image, disk_bytes):
    """The command line of a run's client."""
    common = ["--rw", point.rw, "--rwmixread", READ_PERCENT, "--bs", point.block_bytes,
              "--iodepth", point.depth]
    if setup.who == "airlock":
        return [harness.AIRLOCK, "blk", "bench",
                "--device", f"vfio-user+doorbells:{server.socket}", *common,
                "--runtime", microseconds(method.runtime), "--ramp", microseconds(method.ramp),
                *airlock_waits(setup), *(["--in-place"] if setup.how == IN_PLACE else []),
                "--json"]
    times = ["--runtime", method.runtime, "--ramp", method.ramp]
    if setup.who == "qemu":
        return [TRIXIE, programs.libblkio, "--socket", server.socket, *common, *times,
                "--server-pid", server.pid, *(["--poll"] if setup.waits == POLLING else [])]
    if setup.data == "memory":
        depth = [] if setup.how == MEMCPY else ["--iodepth", point.depth]
        return [programs.direct, "--engine", "memcpy", "--size", disk_bytes, *common[:6], *depth,
                *times]
    return [programs.direct, "--engine", setup.how, "--path", image, *common, *times]


def microseconds(seconds):
    return f"{round(seconds * 1e6)}us"


class Bench:
    """All of it. `progress`: called with a line now and then."""

    def __init__(self, method, servers, programs, image, progress):
        self._method = method
        self._servers = servers
        self._programs = programs
        self._image = image
        self._disk_bytes = os.path.getsize(image)
        self._progress = progress
        self.failures = []
        self.repeated = 0

    def measure(self, setups):
        """(setup, point) -> its runs, one a round at most."""
        work = [(setup, point) for setup in setups for point in setup.points]
        runs = {cell: [] for cell in work}
        order = random.Random(self._method.seed)
        for number in range(self._method.rounds):
            order.shuffle(work)
            disturbed = self._pass(work, runs, f"round {number + 1} of {self._method.rounds}")
            # A second time at the end of the round: what disturbed them may be gone by then.
            most = math.ceil((number + 1) * len(work) * AGAIN_PART) - self.repeated
            again = disturbed[:max(most, 0)]
            self.repeated += len(again)
            if again:
                self._pass(again, runs, f"round {number + 1}, {len(again)} again", again=True)
        return runs

    def _pass(self, work, runs, title, again=False):
        """Every cell once; those that were disturbed. `again`: in place of its last run, if this
        one was disturbed less."""
        begin = time.monotonic()
        disturbed = []
        for cell in work:
            try:
                run = self._run(*cell)
            except Failed as failure:
                self.failures.append({"setup": cell[0].name, "point": cell[1].name,
                                      "why": str(failure)})
                self._progress(f"failed: {cell[0].name} {cell[1].name}: {failure}")
                continue
            if again:
                before = runs[cell].pop()
                run = min(before, run, key=lambda run: max(run.others, run.steal))
                run = run._replace(attempts=before.attempts + 1)
            runs[cell].append(run)
            if run.disturbed(self._method.others_most):
                disturbed.append(cell)
        self._progress(f"{title}: {len(work)} runs, {len(disturbed)} disturbed, "
                       f"{time.monotonic() - begin:.0f} s")
        return disturbed

    def _run(self, setup, point):
        """One run. Raises Failed."""
        try:
            server = self._servers.get(setup)
        except (AssertionError, OSError) as error:
            raise Failed(f"its server: {error}") from error
        words = client_words(setup, point, self._method, server, self._programs, self._image,
                             self._disk_bytes)
        pids = pids_of(server) if server else []
        try:
            return self._watch(words, pids)
        except Failed:
            if server:
                self._servers.drop(server)
            raise

    def _watch(self, words, pids):
        method = self._method
        own = {os.getpid(), *pids}
        others, steal = machine.others_cpu_seconds(own), machine.steal_seconds()
        # The first process of a server that has two is the device behind its guard.
        hidden = machine.cpu_seconds(pids[0]) if len(pids) > 1 else 0
        begin = time.monotonic()
        result = run_client(["taskset", "-c", method.client_cpu, *words],
                            method.runtime + method.ramp + CLIENT_SECONDS_MOST)
        seconds = time.monotonic() - begin
        cpu_server = result.get("cpu_device")
        if len(pids) > 1 and cpu_server is not None:
            # The client sees only the guard. What starts and ends a run is in the device's part.
            cpu_server += (machine.cpu_seconds(pids[0]) - hidden) / seconds
        # A process whose parent did not wait for it takes what it used with it.
        others = max(0.0, machine.others_cpu_seconds(own) - others)
        return Run({name: result[name] for name in VALUES}, result["cpu_driver"], cpu_server,
                   others / seconds,
                   (machine.steal_seconds() - steal) / seconds)


def run_client(words, timeout):
    """What a client printed. Raises Failed."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"it did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise Failed(f"status {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)
