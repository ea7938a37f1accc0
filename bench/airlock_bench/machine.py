# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on: what it is, and what else runs there."""

import os
import pathlib
import platform

PROC = pathlib.Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """The fields of /proc/PID/stat from number 3 on; None if there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(pid):
    """What all threads of a process used so far; 0 if it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND if fields else 0


def others_cpu_seconds(own):
    """What all processes but those with a pid in `own` used so far, and those that they waited for:
    so what came and went meanwhile counts as well. Only the difference of two calls tells
    something."""
    ticks = 0
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) not in own:
            fields = _stat(entry.name)
            if fields:
                ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / TICKS_A_SECOND


def steal_seconds():
    """What the host gave to others while a processor of this machine wanted to run, so far."""
    words = (PROC / "stat").read_text().splitlines()[0].split()
    return int(words[8]) / TICKS_A_SECOND


def describe():
    """For who reads the numbers later."""
    model = [line.partition(":")[2].strip() for line in
             (PROC / "cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_kib = int((PROC / "meminfo").read_text().split()[1])
    return {
        "cpu": model[0] if model else platform.processor(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20)),
        "kernel": platform.release(),
        "huge_pages": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "clock": _chosen("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    }


def _chosen(path):
    try:
        text = pathlib.Path(path).read_text().strip()
    except OSError:
        return "unknown"
    return text[text.index("[") + 1:text.index("]")] if "[" in text else text


def pin(pid, cpu):
    """All threads of a process, and those that they will make, to one processor."""
    for task in (PROC / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})
