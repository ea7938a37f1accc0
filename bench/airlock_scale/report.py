# SPDX-License-Identifier: Apache-2.0
"""The tables of a measurement, in Markdown."""

import textwrap

from . import measure

MIB = 1 << 20
TARGETS = (
    ("memory of an idle device beyond the region's touched pages", "under 4 MiB", 4 * MIB),
    ("start to a listening socket, and to the first register served", "under 20 ms", 20),
    ("switches of an idle device's threads", "none", 0),
)


def text(results, plot):
    """The whole page; `plot` is the name of the SVG beside it, or None."""
    machine, window = results["machine"], results["window_seconds"]
    setting = (
        f"`./dev bench scale`, on {machine['cpus']} x {machine['cpu']}, Linux {machine['kernel']}. "
        "Every device is an `airlock serve blk` over a file, with a driver of ours that has had 32 "
        "requests in flight in each queue and is stopped. Where nothing else is said it has 1 "
        "queue of 256 entries and a region of 64 MiB.")
    terms = (
        "Memory is what no other process has, page by page, of the device's process and its socket "
        "keeper; the region is counted apart. Start times are medians (and the longest) of "
        f"{results['starts']}, from before the process is made; \"running\" is the processor time "
        f"of it. Switches are of all threads, in {window} s.")
    lines = [f"# What devices cost at rest, {results['date']}", "", *_paragraph(setting), "",
             *_paragraph(terms), "", *_verdicts(results)]
    for what in measure.OPTION:
        lines += ["", f"## By {what}", "", *_shapes(results, what)]
    lines += ["", "## By the number of devices", "", *_fleets(results)]
    if plot:
        lines += ["", f"![Memory and start time]({plot})"]
    return "\n".join(lines) + "\n"


def _verdicts(results):
    default = [one for one in results["one"]
               if one["value"] == results["default"][one["what"]]]
    most = (max(one["with_driver"]["private"] for one in default),
            max(one["register_ms"] for one in default),
            max(one["switches"] for one in results["one"] + results["many"]))
    shown = (_mib(most[0]), f"{most[1]:.1f} ms", str(most[2]))
    rows = [[name, target, value, "yes" if number <= limit else "NO"]
            for (name, target, limit), value, number in zip(TARGETS, shown, most)]
    return _table(["what", "target", "measured", "reached"], rows)


def _shapes(results, what):
    rows = []
    for one in results["one"]:
        if one["what"] != what:
            continue
        used, bare = one["with_driver"], one["before_driver"]
        rows.append([_mib(one["value"], 0) if what == "region" else str(one["value"]),
                     _mib(bare["private"]), _mib(used["private"]), _mib(used["fair"]),
                     _mib(used["tables"]), _mib(used["region"]), str(one["threads"]),
                     _times(one, "listening"), _times(one, "register"), _running(one),
                     str(one["switches"])])
    return _table([what, "memory before a driver came", "memory", "with its part of what is shared",
                   "page tables", "region touched", "threads", "listening", "first register",
                   "running", "switches"], rows)


def _fleets(results):
    rows = [[str(one["devices"]), _mib(one["private"]), _mib(one["fair"]), _mib(one["region"]),
             _mib(one["machine"]) if one["machine"] is not None else "", _times(one, "listening"),
             _times(one, "register"), _running(one), str(one["switches"])]
            for one in results["many"]]
    return _table(["devices", "memory of each", "with its part of what is shared",
                   "region touched, each", "of the machine's memory, each, before drivers came",
                   "listening", "first register", "running", "switches, of all"], rows)


def _paragraph(words):
    return textwrap.wrap(words, 115, break_on_hyphens=False)


def _mib(count, digits=2):
    return f"{count / MIB:.{digits}f} MiB"


def _times(one, what):
    return f"{one[what + '_ms']:.1f} ms ({one[what + '_most_ms']:.1f})"


def _running(one):
    return f"{one['start_cpu_ms']:.1f} ms"


def _table(head, rows):
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
