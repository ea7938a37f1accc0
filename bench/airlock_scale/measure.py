# SPDX-License-Identifier: Apache-2.0
"""What is measured: one device in many shapes, and many devices."""

import statistics
import tempfile
import threading

import harness

from . import fleet, memory

WINDOW_SECONDS = 10
STARTS = 20
MIB = 1 << 20
QUEUES = (1, 2, 4)
QUEUE_SIZES = (64, 256, 1024, 4096, 16384)
REGIONS = tuple(size * MIB for size in (16, 64, 256, 1024, 2048))
FLEETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MANY = 32
OPTION = {"queues": "--queues", "queue size": "--queue-size", "region": "--region"}
DEFAULT = {"queues": 1, "queue size": 256, "region": 64 * MIB}


def shapes(quick):
    """(what differs from the default, its value)."""
    for value in QUEUES[:2] if quick else QUEUES:
        yield "queues", value
    for value in QUEUE_SIZES[:2] if quick else QUEUE_SIZES:
        yield "queue size", value
    for value in REGIONS[:2] if quick else REGIONS:
        yield "region", value


def all_of(quick, progress):
    """Everything, as what goes into the results' file. `progress` is told a line a step."""
    one, many = [], []
    for what, value in shapes(quick):
        progress(f"one device, {what} {value}")
        one.append({"what": what, "value": value} | shape(what, value, quick))
    for count in FLEETS[:4] if quick else FLEETS:
        progress(f"{count} devices")
        many.append({"devices": count} | fleet_of(count, window(quick)))
    return {"window_seconds": window(quick), "starts": starts(quick), "default": DEFAULT,
            "one": one, "many": many}


def window(quick):
    return 1 if quick else WINDOW_SECONDS


def starts(quick):
    return 3 if quick else STARTS


def shape(what, value, quick):
    """One device with a driver that has stopped."""
    options = (OPTION[what], value)
    with tempfile.TemporaryDirectory(prefix="airlock-scale-") as folder:
        with fleet.ended([]) as started:
            for number in range(starts(quick)):
                started.append(fleet.Device(folder, number, *options))
            times = start_times(started)
            come_to_rest(started)
            bare = memory.of_device(started[-1].pid)
        with fleet.ended([]) as running:
            running.append(fleet.Device(folder, "idle", *options))
            used = DEFAULT | {what: value}
            running.append(fleet.Driver(running[0], used["queues"], used["queue size"]))
            running[1].come_to_rest()
            switches = switches_at_rest(running[:1], window(quick))
            used = memory.of_device(running[0].pid)
            return times | {"before_driver": bare._asdict(), "with_driver": used._asdict(),
                            "threads": memory.threads(running[0].pid), "switches": switches}


def fleet_of(count, seconds):
    """Many devices, each with a driver that has stopped."""
    with tempfile.TemporaryDirectory(prefix="airlock-scale-") as folder, \
            fleet.ended([]) as devices, fleet.ended([]) as drivers:
        before = memory.available()
        for number in range(count):
            devices.append(fleet.Device(folder, number))
        come_to_rest(devices)
        without = memory.available()
        for device in devices:
            drivers.append(fleet.Driver(device))
            drivers[-1].come_to_rest()
        switches = switches_at_rest(devices, seconds)
        used = [memory.of_device(device.pid) for device in devices]
        return start_times(devices[-STARTS:]) | {
            "switches": switches,
            "private": statistics.median(one.private for one in used),
            "fair": statistics.median(one.fair for one in used),
            "region": statistics.median(one.region for one in used),
            # What else runs on the machine is less than many devices.
            "machine": (before - without) // count if count >= MANY else None}


def start_times(devices):
    """In milliseconds, from before the process is made; and what of it was work, for where the
    machine has other work as well."""
    listening = [device.listening_ms for device in devices]
    register = [device.register_ms for device in devices]
    return {"listening_ms": statistics.median(listening), "listening_most_ms": max(listening),
            "register_ms": statistics.median(register), "register_most_ms": max(register),
            "start_cpu_ms": statistics.median(device.cpu_ns for device in devices) / 1e6}


def switches_of(devices):
    """How often any thread of these was switched to or from so far."""
    return sum(harness.switches(pid) for device in devices for pid in harness.family(device.pid))


def come_to_rest(devices):
    """Returns when nothing has run for a while; the switches until then."""
    before = None
    while before != (now := switches_of(devices)):
        before = now
        threading.Event().wait(0.3)
    return before


def switches_at_rest(devices, seconds):
    """Of a window of time, after all have come to rest."""
    before = come_to_rest(devices)
    threading.Event().wait(seconds)  # the observation window
    return switches_of(devices) - before
