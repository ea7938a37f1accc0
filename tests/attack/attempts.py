# SPDX-License-Identifier: Apache-2.0
"""How each attack is tried, and what counts as its success: always something that the attacker got
or brought about, never something that was missing. Each function gets a Run and returns a Result.
"""

import collections
import contextlib
import errno
import signal
import time

import victim

Result = collections.namedtuple("Result", "success note")

PAGE = 4096
STALLED_MS = 600  # QEMU gives its control channel no answer for that long: the VM stands still
WAITED_SECONDS = 4  # of QEMU's start: it waits 5 s for what does not come
PATIENCE = 2.5  # seconds to wait for that; what has not stalled by then answers in milliseconds
FLOOD = 50000  # commands
FLOOD_OF_READS = 3000  # of 64 KiB: enough to see it, and no danger for this machine
GROWN_BYTES = 100 << 20
LATE_MS = 6000  # QEMU breaks off after 5 s


# --- guest memory ---------------------------------------------------------------------------------


def reads(order):
    """The attacker looks for the guest's secret by that order, and shows it."""
    def attempt(run):
        said = run.attacker.order(order, run.mark)
        got = said.pop("got", None)
        return Result(got == run.secret, "the secret" if got else words(said))
    return attempt


def writes(order):
    """The attacker writes to a page that the guest has not touched; the guest finds it there."""
    def attempt(run):
        address = run.next_target()
        said = run.attacker.order(order, hex(address), run.secret[::-1])
        there = run.victim.read(address, len(run.secret)) == run.secret[::-1].encode()
        return Result(there, "the guest reads what the device wrote" if there else words(said))
    return attempt


def master(attempt, on):
    """With the guest's switch for bus mastering, which every Linux driver turns on."""
    def tried(run):
        run.victim.config_write(4, victim.MEMORY | (victim.MASTER if on else 0))
        return attempt(run)
    return tried


# --- answers --------------------------------------------------------------------------------------


def lies(order, *arguments):
    """The device lies once, when the guest reads a register. It may cost that read, but neither
    the VM's time nor the registers from then on."""
    def attempt(run):
        honest = run.victim.read_register()
        run.attacker.order(order, *arguments)
        return reading(run, honest)
    return attempt


def reading(run, honest):
    """The guest reads a register twice."""
    with run.victim.watch() as watch:
        for _ in range(2):
            run.victim.qtest.post(f"readl {victim.DEVICE_CONFIG:#x}")
            answer = answered_or_stalled(run, watch)
            if answer is None:
                break
    if watch.result >= STALLED_MS:
        run.worst_ms = max(run.worst_ms, watch.result)
        return Result(True, "the VM stands still")
    if answer is None:
        return Result(True, f"QEMU died of {run.victim.ended_by()}")
    if int(answer, 16) != honest:
        return Result(True, f"the register reads {int(answer, 16):#x} from then on")
    return Result(False, "the register reads as before")


def answered_or_stalled(run, watch):
    """The answer to what was posted; None where the VM stood still, or died, before it came."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and watch.worst() < STALLED_MS:
        if answer := run.victim.qtest.answer(0.05):
            return answer
        if run.victim.ended_by():
            return None
    return None


def late(run):
    """The answer comes after 6 s. To the end: how long the VM stands still, or, where it does not,
    what the answer does when it comes."""
    honest = run.victim.read_register()
    run.attacker.order("reply-late", LATE_MS)
    with run.victim.watch() as watch:
        first = run.victim.read_register()
        if watch.worst() < STALLED_MS:
            run.attacker.order("state")  # it says so once it has answered
    run.worst_ms = max(run.worst_ms, watch.result)
    if watch.result >= STALLED_MS:
        return Result(True, f"the VM stands still for {watch.result / 1000:.1f} s")
    if first != honest:
        return Result(True, f"the register reads {first:#x}")
    return reading(run, honest)


def answers_posted(run):
    """An answer to a write that wants none, and whether QEMU understands the device after it."""
    honest = run.victim.read_register()
    run.attacker.order("reply-to-posted")
    run.victim.write_register(victim.DEVICE_CONFIG, 0)
    result = reading(run, honest)
    if run.attacker.order("state")["lied"] == "0":
        return result._replace(note="no write that wants none reaches the device")
    return result


def greets_wrongly(run):
    """Ordered before QEMU comes. No device has to serve, so that a VM does not start is no success;
    that QEMU waits for something that never comes is one."""
    if run.victim.started:
        return reading(run, victim.CAPACITY)
    waited = run.victim.start_seconds
    if waited < WAITED_SECONDS:
        return Result(False, "refused at once: the VM does not start")
    return Result(True, f"QEMU waits for {waited:.0f} s, and does not start")


# --- the region's memory --------------------------------------------------------------------------


def takes_away(run):
    """The memory behind the BAR is truncated under the guest."""
    run.victim.write_register(victim.REGION_BAR + PAGE, 1)
    run.attacker.order("shrink")
    return touches(run, PAGE)


def touches_the_end(run):
    """The memory behind the BAR is smaller than it."""
    return touches(run, (1 << 20) - PAGE)


def touches(run, offset):
    run.victim.qtest.post(f"readl {victim.REGION_BAR + offset:#x}")
    answer = run.victim.qtest.answer(5)
    died = run.victim.dies(5) if answer is None else None
    note = f"QEMU died of {died}" if died else "QEMU has not mapped it, and the guest reads on"
    return Result(bool(died), note)


def maps_node(run):
    """QEMU maps something that is no memory of the device's."""
    with open(f"/proc/{run.victim.process.pid}/maps", encoding="utf-8") as maps:
        mapped = "/dev/zero" in maps.read()
    return Result(mapped, "QEMU maps it" if mapped else "QEMU maps nothing of it")


def shows_memory(run):
    """The BAR shows guest memory, so that who writes to the one writes to the other."""
    if not run.victim.started:
        return Result(False, "refused: the VM does not start")
    seen = run.victim.read(victim.REGION_BAR + victim.SECRET_AT, len(run.secret))
    shown = seen == run.secret.encode()
    return Result(shown, "the BAR shows guest memory" if shown else "the BAR shows none of it")


# --- interrupts -----------------------------------------------------------------------------------


def storms(run):
    """An interrupt without end. A guest's processors would have to take it; QEMU has to pass it on
    and must not forget anything else over it."""
    run.victim.enable_interrupt()
    run.attacker.order("signal", 0)
    if not run.victim.interrupted():
        raise AssertionError("an honest interrupt did not arrive")
    run.attacker.order("storm", 0)
    with run.victim.watch() as watch:
        wakeups = run.victim.wakeups(1)
    run.worst_ms = max(run.worst_ms, watch.result)
    note = f"QEMU is woken {round(wakeups / 1000)} thousand times a second, and answers in time"
    stalled = watch.result >= STALLED_MS
    return Result(stalled, "the VM stands still" if stalled else note)


def sleeps_in_read(which):
    """QEMU is woken, and finds nothing to read from a descriptor that waits for it."""
    def attempt(run):
        run.victim.enable_interrupt()
        with run.victim.watch() as watch:
            said = run.attacker.order("block", which)
            watch.until(STALLED_MS, PATIENCE if said.get("silent") == "1" else 0.2)
        run.worst_ms = max(run.worst_ms, watch.result)
        stalled = watch.result >= STALLED_MS
        return Result(stalled, "the VM stands still" if stalled else words(said))
    return attempt


def fills(run):
    """The counter is full, and QEMU's end blocks."""
    run.victim.enable_interrupt()
    with run.victim.watch() as watch:
        said = run.attacker.order("fill", 0)
        arrived = run.victim.interrupted()
        # Masked and unmasked again: QEMU goes through its descriptors.
        run.victim.write_register(victim.MSIX_BAR + 12, 1)
        run.victim.write_register(victim.MSIX_BAR + 12, 0)
        stalled = watch.until(STALLED_MS, 0.3)
    run.worst_ms = max(run.worst_ms, watch.result)
    note = "the VM stands still" if stalled else f"it {'arrives' if arrived else 'is lost'}"
    return Result(stalled, note if said["filled"] == "1" else words(said))


def stops_vm(run):
    """The interrupt for errors, at which QEMU stops the VM."""
    said = run.attacker.order("signal", "error")
    deadline = time.monotonic() + 1
    status = "running"
    while time.monotonic() < deadline and status == "running":
        status = run.victim.qmp.command("query-status")["status"]
    if status != "running":
        return Result(True, f"the VM is in {status}")
    return Result(False, words(said))


# --- silence, death and floods --------------------------------------------------------------------


def hangs(run):
    """The device is stopped."""
    honest = run.victim.read_register()
    run.attacker.signal(signal.SIGSTOP)
    return reading(run, honest)


def dies(run):
    """The device is killed."""
    honest = run.victim.read_register()
    run.attacker.signal(signal.SIGKILL)
    run.attacker.process.wait()
    return reading(run, honest)


def floods_unknown(run):
    """More commands than anybody answers, whose answers nobody reads."""
    honest = run.victim.read_register()
    with run.victim.watch() as watch:
        run.attacker.order("flood-unknown", FLOOD)
        watch.until(STALLED_MS, 1)
    run.worst_ms = max(run.worst_ms, watch.result)
    if watch.result >= STALLED_MS:
        return Result(True, "the VM stands still")
    return reading(run, honest)


def floods_with_reads(run):
    """The same with reads of guest memory, each of which QEMU has an answer for."""
    honest = run.victim.read_register()
    before = run.victim.memory_bytes()
    run.attacker.order("flood-dma-read", FLOOD_OF_READS)
    deadline = time.monotonic() + PATIENCE
    grown = 0
    while grown < GROWN_BYTES and time.monotonic() < deadline:
        grown = run.victim.memory_bytes() - before
        time.sleep(0.02)
    if grown >= GROWN_BYTES:
        return Result(True, "QEMU holds all answers, without a limit")
    return reading(run, honest)


# --- beside the protocol --------------------------------------------------------------------------


def as_neighbour(order):
    """What any process of the same user can do to QEMU."""
    def attempt(run):
        said = run.attacker.order(order, run.victim.process.pid, run.mark, may_die=True)
        got = said.pop("got", None)
        return Result(got == run.secret, "the secret" if got else words(said))
    return attempt


def locked_in(attempt):
    """The same once the device has gone into the sandbox that our own devices have."""
    def tried(run):
        run.attacker.order("lock-in")
        return attempt(run)
    return tried


def words(said):
    """The attacker's own words, for a person."""
    with contextlib.suppress(KeyError, ValueError):
        number = int(said["errno"])
        if number > 0:
            return errno.errorcode.get(number, str(number))
        if number < 0:
            return "no answer"
    if "died" in said:
        return f"the device is ended by {said['died']}"
    if said.get("blocking") == "0" or said.get("signalled") == "0":
        return "the device has no such interrupt"
    if said.get("silent") == "0":
        return f"tried {said['rounds']} times"
    if "fds" in said:
        return ("no descriptor came" if said["fds"] == "0" else
                f"{said['fds']} descriptors, and nothing that the guest wrote")
    if said.get("written") == "0":
        return "no descriptor came"
    return ", ".join(f"{key} {value}" for key, value in said.items())
