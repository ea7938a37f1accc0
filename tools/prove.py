#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the proofs and models of models/, and the broken twin of each. Called by `./dev prove`.

    prove.py [--jobs 2] [--junit FILE] [--no-cbmc] [--list] [NAME...]

models/cbmc/*.c and kernel/tests/*_proof.c are proofs for CBMC, which the lab has; models/spin/*.pml
are models for spin. They say in their comments what there is to run, and which of their claims must
fail where:

    proof: NAME [options of the tool]
    twin: NAME BROKEN_SOMETHING: claim

A twin is the proof with -D BROKEN_SOMETHING: the tool must find it wrong, and wrong in that claim.
A proof that nothing can reach proves nothing: every place that a harness marks REACHED must be
reached. The logs stay in build/prove.
"""

import argparse
import concurrent.futures
import glob
import itertools
import json
import os
import re
import subprocess
import sys
import time
from typing import NamedTuple, Optional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import results  # noqa: E402

REPO = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
TIMEOUT_S = 300  # of one run; the longest takes a tenth of that on two old processors
CBMC_CHECKS = [
    "--bounds-check",
    "--pointer-check",
    "--pointer-overflow-check",
    "--pointer-primitive-check",
    "--signed-overflow-check",
    "--unsigned-overflow-check",
    "--undefined-shift-check",
    "--div-by-zero-check",
    "--unwinding-assertions",
    "--no-malloc-may-fail",
]
SPIN_DEPTH = 1000000
SPIN_MEMORY_MB = 1024


class Unusable(Exception):
    """A tool did not do its work, so its answer is neither yes nor no."""


class Check(NamedTuple):
    path: str  # from the root of the project
    name: str
    options: tuple = ()
    broken: Optional[str] = None  # the macro of a twin
    claim: Optional[str] = None  # what the tool must refute of a twin
    reach: bool = False  # whether the file's proofs reach what they should

    @property
    def tool(self):
        return "spin" if self.path.endswith(".pml") else "cbmc"

    @property
    def title(self):
        if self.reach:
            return f"{self.path} is reached"
        return f"{self.name} {self.broken}" if self.broken else self.name


class Outcome(NamedTuple):
    refuted: tuple  # claims, or descriptions of checks, that fail
    unreached: tuple = ()  # places
    reached: tuple = ()


# --- what there is to run -----------------------------------------------------------------------


def read_checks(path, text):
    """The checks that a file declares, its proofs before their twins."""
    proofs = {}
    for name, options in re.findall(r"^ \* proof: (\w+)(.*)$", text, re.MULTILINE):
        if name in proofs:
            raise ValueError(f"{path}: two proofs are called {name}")
        proofs[name] = Check(path, name, tuple(options.split()))
    twins = []
    for line in re.findall(r"^ \* twin: (.*)$", text, re.MULTILINE):
        match = re.fullmatch(r"(\w+) (BROKEN_\w+): (.+)", line)
        if match is None or match.group(1) not in proofs:
            raise ValueError(f"{path}: no twin of a proof of this file: {line}")
        name, broken, claim = match.groups()
        if not re.search(rf"\b{broken}\b", text.replace(f" * twin: {line}", "")):
            raise ValueError(f"{path}: nothing depends on {broken}")
        twins.append(proofs[name]._replace(broken=broken, claim=claim))
    for name in proofs:
        if name not in [twin.name for twin in twins]:
            raise ValueError(f"{path}: {name} has no twin that must fail")
    reach = [Check(path, "reach", reach=True)] if "REACHED(" in text else []
    return [*proofs.values(), *twins, *reach]


def with_includes(path, text):
    """The text with that of the headers beside it, for macros that are used there."""
    for name in re.findall(r'^#include "(\w+\.h)"', text, re.MULTILINE):
        beside = os.path.join(REPO, os.path.dirname(path), name)
        if os.path.exists(beside):
            with open(beside, encoding="utf-8") as file:
                text += file.read()
    return text


def find_checks(names):
    checks = []
    places = [os.path.join("models", "*", "*"), os.path.join("kernel", "tests", "*_proof.c")]
    found = [glob.glob(os.path.join(glob.escape(REPO), place)) for place in places]
    for full in sorted(itertools.chain(*found)):
        path = os.path.relpath(full, REPO)
        if path.endswith((".c", ".pml")):
            with open(full, encoding="utf-8") as file:
                text = file.read()
            checks += read_checks(path, with_includes(path, text))
    for name in names:
        if name not in [check.name for check in checks]:
            raise ValueError(f"no proof is called {name}: --list shows them")
    return [check for check in checks if not names or check.name in names]


# --- the tools ----------------------------------------------------------------------------------


def run(command, log, folder=REPO):
    """The output of a command and its exit status. Its output is added to the log."""
    log.write(f"$ {' '.join(command)}\n")
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise Unusable(f"no answer in {TIMEOUT_S} s") from expired
    output = done.stdout.decode(errors="replace")
    log.write(output)
    log.flush()
    return output, done.returncode


def cbmc_outcome(output, status):
    """What a run of cbmc --json-ui says."""
    try:
        parts = json.loads(output)
    except json.JSONDecodeError as error:
        raise Unusable(f"cbmc wrote no JSON: {output.strip()[-300:]}") from error
    found = [part["result"] for part in parts if "result" in part]
    if status not in (0, 10) or len(found) != 1:
        messages = [part.get("messageText", "") for part in parts if "messageType" in part]
        raise Unusable("\n".join([f"cbmc ended with status {status}", *messages[-5:]]))
    refuted = [p["description"] for p in found[0] if p["status"] == "FAILURE"]
    other = [p for p in found[0] if p["status"] not in ("FAILURE", "SUCCESS")]
    # Behind a bad access nothing is decided any more.
    if (other and not refuted) or bool(refuted) != (status == 10):
        raise Unusable(f"cbmc ended with status {status} and {len(other)} undecided claims")
    places = [p for p in found[0] if p["description"].startswith("reached: ")]
    return Outcome(
        tuple(sorted(set(refuted))),
        tuple(p["description"] for p in places if p["status"] == "SUCCESS"),
        tuple(p["description"] for p in places if p["status"] == "FAILURE"),
    )


def run_cbmc(check, log, reach=False):
    checks = ["--no-standard-checks", "-D", "REACH"] if reach else CBMC_CHECKS
    broken = ["-D", check.broken] if check.broken else []
    command = ["lab/trixie", "cbmc", check.path, "--function", check.name, "--json-ui"]
    command += ["-I", "src", "-I", "models/cbmc", "--drop-unused-functions"]
    return cbmc_outcome(*run(command + checks + list(check.options) + broken, log))


def spin_outcome(output, status):
    """What a run of a verifier that spin made says."""
    errors = re.search(r"errors: (\d+)$", output, re.MULTILINE)
    if status != 0 or errors is None:
        raise Unusable(f"the verifier ended with status {status}: {output.strip()[-300:]}")
    if re.search(r"max search depth too small|out of memory|Search not completed", output) and (
        errors.group(1) == "0"
    ):
        raise Unusable(f"the search was cut off: {output.strip()[:300]}")
    refuted = [line[6:].strip() for line in output.splitlines() if re.match(r"pan:\d+: ", line)]
    if (errors.group(1) != "0") != bool(refuted):
        raise Unusable(f"{errors.group(1)} errors, but these: {refuted}")
    return Outcome(tuple(refuted))


def run_spin(check, log):
    folder = os.path.join(REPO, "build", "prove", check.title.replace(" ", "."))
    os.makedirs(folder, exist_ok=True)
    broken = [f"-D{check.broken}"] if check.broken else []
    model = os.path.join(REPO, check.path)
    output, status = run(["spin", *check.options, *broken, "-a", model], log, folder)
    if status != 0 or "Error" in output:
        raise Unusable(f"spin does not take the model: {output.strip()[:300]}")
    compiler = ["gcc", "-O0", "-w", "-DSAFETY", f"-DMEMLIM={SPIN_MEMORY_MB}", "-o", "pan", "pan.c"]
    if run(compiler, log, folder)[1] != 0:
        raise Unusable("the verifier does not compile")
    return spin_outcome(*run(["./pan", f"-m{SPIN_DEPTH}"], log, folder))


# --- verdicts -----------------------------------------------------------------------------------


def verdict(check, outcome):
    """Why the outcome is not what it must be; None if it is."""
    if check.broken is None:
        return "refuted: " + "; ".join(outcome.refuted) if outcome.refuted else None
    if any(check.claim in claim for claim in outcome.refuted):
        return None
    if outcome.refuted:
        return f"refuted, but not in `{check.claim}`: " + "; ".join(outcome.refuted)
    return f"not refuted: the proof would not notice {check.broken}"


def verdict_of_reach(outcomes):
    """The same for the places of one file: each is reached by a proof, each proof reaches one."""
    for name, outcome in outcomes.items():
        if not outcome.reached:
            return f"{name} reaches nothing: its assumptions contradict each other"
    reached = {place for outcome in outcomes.values() for place in outcome.reached}
    unreached = {place for outcome in outcomes.values() for place in outcome.unreached} - reached
    return "not " + "; not ".join(sorted(unreached)) if unreached else None


def judge(check, checks, log):
    if check.reach:
        proofs = [c for c in checks if c.path == check.path and not (c.broken or c.reach)]
        return verdict_of_reach({proof.name: run_cbmc(proof, log, reach=True) for proof in proofs})
    return verdict(check, run_spin(check, log) if check.tool == "spin" else run_cbmc(check, log))


def run_check(check, checks):
    start = time.monotonic()
    folder = os.path.join(REPO, "build", "prove")
    os.makedirs(folder, exist_ok=True)
    name = check.title.replace(" ", ".").replace("/", ".")
    with open(os.path.join(folder, f"{name}.log"), "w", encoding="utf-8") as log:
        try:
            failure = judge(check, checks, log)
        except (Unusable, OSError) as error:
            failure = str(error)
    if failure is not None:
        failure += f"\nthe log is build/prove/{name}.log"
    return results.Case("prove", check.title, failure, seconds=time.monotonic() - start)


def missing_cbmc():
    """Why there is no CBMC here; None if there is."""
    lab = os.environ.get("AIRLOCK_LAB") or os.path.join(REPO, "build", "lab")
    if os.path.exists(os.path.join(lab, "trixie", "usr", "bin", "cbmc")):
        return None
    return "the lab has no cbmc: ./dev lab gets it"


def split_skipped(checks, no_cbmc):
    """The checks to run, and a skipped case with its reason for those that can't be."""
    why = "--no-cbmc was given" if no_cbmc else missing_cbmc()
    wanted = [check for check in checks if why is None or check.tool != "cbmc"]
    if len(wanted) == len(checks):
        return wanted, []
    return wanted, [results.Case("prove", f"cbmc: {why}", None, skipped=True)]


def word_of(check, case):
    if case.failure is not None:
        return "FAILED"
    return "refuted as expected" if check.broken else "ok"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--junit", help="also write the results there")
    parser.add_argument("--no-cbmc", action="store_true", help="run the models of spin only")
    parser.add_argument("--list", action="store_true", help="show the proofs and run nothing")
    parser.add_argument("name", nargs="*", help="these proofs and their twins only")
    options = parser.parse_args()
    try:
        checks = find_checks(options.name)
    except ValueError as error:
        print(f"prove: {error}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(check.title for check in checks))
        return 0
    wanted, cases = split_skipped(checks, options.no_cbmc)
    for case in cases:
        print(f"skipped {case.name}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(run_check, check, checks): check for check in wanted}
        for done in concurrent.futures.as_completed(runs):
            case = done.result()
            cases.append(case)
            print(f"[{len(cases)}/{len(wanted)}] " if sys.stderr.isatty() else "", end="")
            print(f"{word_of(runs[done], case)} {case.name} ({case.seconds:.1f} s)", flush=True)
            if case.failure is not None:
                print(case.failure, flush=True)
    if options.junit:
        results.write_suite(options.junit, "prove", sorted(cases, key=lambda case: case.name))
    return 1 if any(case.failure is not None for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
