# SPDX-License-Identifier: Apache-2.0
"""The attack suite: every attack of attacks.py on a real QEMU, directly and through the guard.

    python3 -B tests/attack/attack_test.py                     everything
    python3 -B tests/attack/attack_test.py Direct.test_memory  one channel
    python3 -B tests/attack/attack_test.py --table FILE        writes the table of docs/SECURITY.md

Directly each attack has to succeed where the table says so, or it would show nothing about the
guard. Through the guard each has to fail, the VM has to run on, and the audit has to name it."""

import contextlib
import pathlib
import secrets
import shlex
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402  (of the folder above)
from attacker import HOSTILE, Attacker, Guard  # noqa: E402
from attacks import ALL, ATTACKS, CHANNELS  # noqa: E402
from attempts import PAGE  # noqa: E402
from victim import Victim  # noqa: E402

MARK = "AIRLOCK-SECRET-"
RESPONSIVE_MS = 100  # the VM's control channel, whatever its device does
TRIES = 3  # a VM that an attack slows down is slow each time; one on a busy machine is not
RESULTS = {}  # (name, memory, guarded) -> Result, and the audit's words


class Run:
    """One VM with one hostile device, guarded or not. Use as a context manager."""

    def __init__(self, memory, attack, guarded):
        self.memory, self.attack, self.guarded = memory, attack, guarded
        self.mark = MARK
        self.secret = MARK + secrets.token_hex(8)
        self.worst_ms = 0
        self.guard = None
        self._stack = contextlib.ExitStack()
        self._targets = 0

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(
                tempfile.TemporaryDirectory(prefix="airlock-attack-")))
            self.attacker = Attacker(directory, *self.attack.options)
            # What a neighbour does depends on who started it: the guard, then.
            started_by_guard = self.guarded and self.attack.channel == "process"
            if started_by_guard:
                device = ("--exec", shlex.join(map(str, self.attacker.command("SOCKET"))).replace(
                    "SOCKET", "{socket}"))
                stack.callback(self.attacker.close)
            else:
                stack.enter_context(self.attacker)
                device = ("--connect", self.attacker.socket)
            for order in self.attack.first:
                self.attacker.order(*order.format(directory=directory).split())
            if self.guarded:
                self.guard = stack.enter_context(Guard(directory, *device))
            socket = self.guard.socket if self.guarded else self.attacker.socket
            self.victim = stack.enter_context(Victim(directory, socket, self.memory))
            if started_by_guard:
                self.attacker.connect()
            if self.victim.started:
                self.victim.write(self.victim.secret_at, self.secret.encode())
                self.victim.enable()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def next_target(self):
        """The address of a page that nobody has touched."""
        self._targets += 1
        return self.victim.target_at + self._targets * PAGE

    def logs(self):
        files = [self.victim.log, self.attacker.log, *([self.guard.log] if self.guard else [])]
        return "".join(f"{file.name}: {file.read_text()[-1500:]}\n" for file in files
                       if file.exists())


class Unresponsive(AssertionError):
    """The VM's control channel took its time."""


class Attacks(unittest.TestCase):
    """What both halves share."""

    guarded = False
    maxDiff = None

    def try_channel(self, channel):
        attacks = [attack for attack in ATTACKS if attack.channel == channel]
        for memory in ALL:
            sharing = [attack for attack in attacks if attack.shares and memory in attack.memories]
            if sharing:
                with Run(memory, sharing[0], self.guarded) as run:
                    for attack in sharing:
                        self.try_one(attack, memory, lambda: contextlib.nullcontext(run))
        for attack in attacks:
            for memory in () if attack.shares else attack.memories:
                self.try_one(attack, memory, lambda: Run(memory, attack, self.guarded))

    def try_one(self, attack, memory, make_run):
        with self.subTest(attack.name, memory=memory):
            for left in reversed(range(TRIES)):
                with make_run() as run:
                    try:
                        return self.try_once(run, attack)
                    except Unresponsive:
                        if not left:
                            raise

    def try_once(self, run, attack):
        if not (run.victim.started or attack.first):
            self.fail(f"the VM did not start\n{run.logs()}")
        run.worst_ms = 0
        result = attack.attempt(run)
        RESULTS[attack.name, run.memory, self.guarded] = (result, self.audited(run, attack))
        self.check(run, attack, result)

    def audited(self, run, attack):
        return ""

    def check(self, run, attack, result):
        raise NotImplementedError


class Direct(Attacks):
    """QEMU talks to the device: the attacks succeed, or the suite would prove nothing."""

    def check(self, run, attack, result):
        self.assertEqual(result.success, run.memory in attack.without, f"{result}\n{run.logs()}")


class Guarded(Attacks):
    """The guard between them: they fail, and the VM runs on."""

    guarded = True

    def audited(self, run, attack):
        """What the audit says of the attack; None: nothing, where it should."""
        wanted = attack.audit[run.memory] if isinstance(attack.audit, dict) else attack.audit
        if isinstance(wanted, str):
            return wanted
        for record in run.guard.audit():
            if record.get("message") == wanted.message and wanted.reason in record["reason"]:
                return "{message} {decision}: {reason}".format(**record)
        return None

    def check(self, run, attack, result):
        self.assertEqual(result.success, run.memory in attack.guarded, f"{result}\n{run.logs()}")
        self.check_responsive(run.worst_ms, run)
        if run.victim.started:
            with run.victim.watch() as watch:
                self.assertEqual(run.victim.qmp.command("query-status")["status"], "running")
                seen = run.victim.read(run.victim.secret_at, len(run.secret))
                self.assertEqual(seen, run.secret.encode())
            self.check_responsive(watch.result, run)
        audited = RESULTS[attack.name, run.memory, True][1]
        self.assertIsNotNone(audited, f"no record of it\n{run.logs()}\n{run.guard.audit()[-20:]}")

    def check_responsive(self, worst_ms, run):
        if worst_ms >= RESPONSIVE_MS:
            raise Unresponsive(f"an answer took {worst_ms:.0f} ms\n{run.logs()}")


class Table(unittest.TestCase):
    # No attack that the device knows is left out.
    def test_has_them_all(self):
        known = {line.split()[0] for line in harness.run(HOSTILE, "--list").splitlines()}
        source = "".join((pathlib.Path(__file__).parent / name).read_text()
                         for name in ("attacks.py", "attempts.py"))
        self.assertEqual({name for name in known if f'"{name}' not in source}, set())


for channel in CHANNELS:
    for group in (Direct, Guarded):
        setattr(group, f"test_{channel}", lambda self, channel=channel: self.try_channel(channel))


def load_tests(loader, tests, pattern):
    """All but the class that the halves share, which would try nothing."""
    return unittest.TestSuite(loader.loadTestsFromTestCase(group)
                              for group in (Table, Direct, Guarded))


def cell(name, memory, guarded):
    result, _ = RESULTS.get((name, memory, guarded), (None, ""))
    if result is None:
        return "not tried"
    return f"**yes**: {result.note}" if result.success else f"no: {result.note}"


def table():
    """The results as Markdown, in the order of the attacks."""
    lines = ["| attack | guest memory | succeeds without the guard | with it | the audit says |",
             "|---|---|---|---|---|"]
    for attack in ATTACKS:
        for memory in attack.memories:
            if not any((attack.name, memory, guarded) in RESULTS for guarded in (False, True)):
                continue
            audit = RESULTS.get((attack.name, memory, True), (None, ""))[1] or ""
            lines.append(f"| {attack.name} | {memory} | {cell(attack.name, memory, False)} | "
                         f"{cell(attack.name, memory, True)} | {audit} |")
    return "\n".join(lines) + "\n"


def main():
    file = None
    if "--table" in sys.argv:
        at = sys.argv.index("--table")
        file = pathlib.Path(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    done = unittest.main(verbosity=2, exit=False)
    print(table(), flush=True)
    if file:
        file.write_text(table())
    sys.exit(0 if done.result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
