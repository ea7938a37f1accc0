# SPDX-License-Identifier: Apache-2.0
"""The plot of a measurement, by matplotlib, as SVG."""

MIB = 1 << 20


def draw(results, file):
    """Raises ImportError where matplotlib is not there."""
    import matplotlib
    matplotlib.use("svg")
    # The same numbers make the same file, with words that stay words.
    matplotlib.rcParams.update({"svg.hashsalt": "airlock", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    _memory(axes[0][0], results, "queue size", "entries of the queue", 1)
    _memory(axes[0][1], results, "region", "region, MiB", MIB)
    _fleet_memory(axes[1][0], results["many"])
    _fleet_start(axes[1][1], results["many"])
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _memory(axes, results, what, label, unit):
    points = [one for one in results["one"] if one["what"] == what]
    values = [one["value"] / unit for one in points]
    for name, key in (("its own", "private"), ("the region, touched", "region"),
                      ("page tables", "tables")):
        axes.plot(values, [one["with_driver"][key] / MIB for one in points], "o-", label=name)
    _finish(axes, f"One idle device by its {what}", label, "MiB", values)


def _fleet_memory(axes, points):
    counts = [one["devices"] for one in points]
    for name, key in (("its own", "private"), ("with its part of what is shared", "fair")):
        axes.plot(counts, [one[key] / MIB for one in points], "o-", label=name)
    _finish(axes, "Memory of each of many idle devices", "devices", "MiB", counts)


def _fleet_start(axes, points):
    counts = [one["devices"] for one in points]
    for name, key in (("listening", "listening_ms"), ("first register", "register_ms"),
                      ("running, of that", "start_cpu_ms")):
        axes.plot(counts, [one[key] for one in points], "o-", label=name)
    _finish(axes, "Start of one more device", "devices", "ms", counts)


def _finish(axes, title, x_label, y_label, ticks):
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd")
    axes.set_axisbelow(True)
    axes.legend()
