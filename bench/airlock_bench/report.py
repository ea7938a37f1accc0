# SPDX-License-Identifier: Apache-2.0
"""The Markdown of a measurement."""

from . import targets
from .plan import GLANCING, POINTS, SLEEPING, setups
from .results import LATENCIES

METHOD = """\
The server runs on processor {server_cpu}, the client on processor {client_cpu}, one queue; \
`aio=threads` with interrupts may use both. {rounds} rounds, each in an order of its own, of runs \
of {runtime} s after {ramp} s that do not count. A cell is the median of its runs, with the \
quartiles. The disk has {disk}; the file is on a tmpfs, and all of it was written before. \
**polling**: both sides look at the ring all the time; **sleeping**: neither ever does without \
being woken; **glancing**: both look for 5 us before they sleep; **adaptive**: our defaults. \
**in place**: the client's buffers are in the region, as those of libblkio are in memory that the \
server maps; **bounced**: they are copied there. What calls and waits has no depth: its numbers of \
depth 1 stand at every depth.

Processor seconds per GB are what the process used while it was measured, polling included. \
A row's ratios are of IOPS: to the fastest qemu-storage-daemon at that point over the same kind of \
data (`null`, or the file for everything else, since it has no memory to serve; a sleeping or \
glancing row to the fastest that sleeps), and to a memcpy loop between 1 GiB of memory and one hot \
buffer."""


def markdown(results, plots=()):
    """All of it. `plots`: (file, title) of pictures beside it."""
    data = results.data
    parts = [f"# Airlock and its peers, {data['date']}", _head(data), "## Targets",
             _targets(results)]
    if plots:
        parts += ["## Plots", "\n".join(f"![{title}]({file})\n" for file, title in plots).strip()]
    for point in POINTS:
        if table := _table(results, point):
            parts += [f"## {point.title}", table]
    if data["failures"]:
        parts += ["## Runs that failed", "\n".join(
            f"- {one['setup']} {one['point']}: {one['why']}" for one in data["failures"])]
    return "\n\n".join(parts) + "\n"


def _head(data):
    machine, method = data["machine"], data["method"]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    cells = data["results"]
    runs = sum(len(cell["runs"]) for cell in cells)
    disturbed = sum(cell["disturbed"] for cell in cells)
    return "\n\n".join([
        f"Made by `{data['command']}`. {machine['cpu']}, {machine['cpus']} processors, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; {versions}.",
        METHOD.format(**method, disk=f"{data['disk_bytes'] >> 20} MiB"),
        f"{runs} runs are counted. {method['repeated']} were made again because other processes, "
        f"or the host, used more than {method['others_most']:.0%} of a processor meanwhile; "
        f"{disturbed} stayed disturbed, and are marked with `!` and their number."])


def _targets(results):
    rows = ["| target | measured | at least | |", "|---|---|---|---|"]
    for verdict in targets.judge(results):
        target = verdict.target
        measured = ", ".join(f"{point.short}: {_number(ratio)}" for point, ratio in verdict.ratios)
        word = {True: "met", None: "not measured"}.get(
            verdict.met, f"**missed** at {len(verdict.missed)} of {len(verdict.ratios)}")
        rows.append(f"| {target.setup.title}: {target.what} | {measured} "
                    f"| {_number(target.least)} | {word} |")
    return "\n".join(rows)


def _table(results, point):
    rows = []
    for setup in setups():
        cell = results.cell(setup, point)
        if cell:
            rows.append(_row(results, setup, point, cell))
    head = ["| | thousand IOPS | GB/s | p50 / p99 / p99.9, us | client, server: CPU s/GB | to qemu "
            "| to memcpy |", "|---|---|---|---|---|---|---|"]
    return "\n".join(head + rows) if rows else None


def _row(results, setup, point, cell):
    waits = (SLEEPING,) if setup.waits in (SLEEPING, GLANCING) else ("polling", SLEEPING)
    rival = targets.qemu("null" if setup.data == "null" else "file", *waits)
    to_memcpy = None if setup.data == "null" else results.ratio(setup, targets.memcpy(), point)
    mark = f" !{cell['disturbed']}" if cell["disturbed"] else ""
    costs = [cell[f"{side}_cpu_s_per_gb"] for side in ("client", "server")]
    cpu = ", ".join(_number(cost and cost["median"]) for cost in costs)
    iops = {name: value / 1000 for name, value in cell["iops"].items()}
    latency = " / ".join(_number(cell[name]["median"]) for name in LATENCIES)
    return (f"| {setup.title}{mark} | {_spread(iops)} | {_number(cell['gb_per_s']['median'])} "
            f"| {latency} | {cpu} | {_number(results.ratio(setup, rival, point))} "
            f"| {_number(to_memcpy)} |")


def _spread(spread):
    return f"{_number(spread['median'])} [{_number(spread['q1'])}-{_number(spread['q3'])}]"


def _number(value):
    """Three digits that count, none of them in an exponent."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
