# SPDX-License-Identifier: Apache-2.0
"""The plots of a measurement, by matplotlib, as SVG.

It is this machine's own (`tools/install-deps bench`), not the lab's: drawing needs no root and no
chroot, and works where there is no lab."""

from .plan import (BIG_READ, BIG_WRITE, BOUNCED, HUGE_READ, MIXED_32, POLLING, READ_1,
                   READ_32, SLEEPING, SMALL, WRITE_1, WRITE_32, setups)

SHORT = {READ_1: "read\ndepth 1", READ_32: "read\ndepth 32", WRITE_1: "write\ndepth 1",
         WRITE_32: "write\ndepth 32", MIXED_32: "mixed\ndepth 32", BIG_READ: "128k read\ndepth 8",
         BIG_WRITE: "128k write\ndepth 8", HUGE_READ: "1M read\ndepth 4"}
COLOURS = {"airlock": ("#08519c", "#4292c6", "#9ecae1"), "qemu": ("#a63603", "#fd8d3c", "#fdd0a2"),
           "direct": ("#252525", "#636363", "#969696", "#bdbdbd", "#d9d9d9")}


def draw(results, folder, stem):
    """Writes the plots that there are numbers for; (file name, title) of each. Raises ImportError
    where matplotlib is not there."""
    import matplotlib
    matplotlib.use("svg")
    # The same numbers make the same file, with words that stay words.
    matplotlib.rcParams.update({"svg.hashsalt": "airlock", "svg.fonttype": "none", "font.size": 9})
    pictures = (
        ("null", "Transport alone, 4k, both sides polling: thousand IOPS", "iops", 1e-3, SMALL,
         _chosen(("null",), POLLING)),
        ("small", "4k with data, both sides polling: thousand IOPS", "iops", 1e-3, SMALL,
         _chosen(("memory", "file"), POLLING)),
        ("sleeping", "4k, both sides sleeping: thousand IOPS", "iops", 1e-3, SMALL,
         _chosen(("null", "file"), SLEEPING)),
        ("large", "128k and 1M with data, both sides polling: GB/s", "gb_per_s", 1,
         (BIG_READ, BIG_WRITE, HUGE_READ), _chosen(("memory", "file"), POLLING)),
        ("latency", "4k, depth 1, both sides polling: median latency, us", "p50_us", 1,
         (READ_1, WRITE_1), _chosen(("null", "memory", "file"), POLLING)),
    )
    made = []
    for name, title, value, scale, points, chosen in pictures:
        chosen = list(chosen)
        points = [point for point in points
                  if any(results.cell(setup, point) for setup in chosen)]
        bars = [(setup, [results.cell(setup, point) for point in points]) for setup in chosen]
        bars = [(setup, cells) for setup, cells in bars if any(cells)]
        if bars:
            file = f"{stem}-{name}.svg"
            _bars(folder / file, title, points, bars, value, scale)
            made.append((file, title))
    return made


def _chosen(data, waits):
    """What to show together: ours and qemu's that wait so; what has no device where both poll."""
    for setup in setups():
        direct = setup.who == "direct" and waits == POLLING
        if setup.data in data and not setup.guarded and (setup.waits == waits or direct):
            yield setup


def _bars(file, title, points, bars, value, scale):
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    width = 0.86 / len(bars)
    colours = {}
    for number, (setup, cells) in enumerate(bars):
        # Whose buffers they are is told by hatching.
        key = (setup.who, setup.data, None if setup.who == "airlock" else setup.how)
        used = sum(who == setup.who for who, *_ in colours)
        shades = COLOURS[setup.who]
        colours.setdefault(key, shades[used % len(shades)])
        hatch = "///" if setup.how == BOUNCED else None
        places = [at - 0.43 + (number + 0.5) * width for at, cell in enumerate(cells) if cell]
        spreads = [{name: part * scale for name, part in cell[value].items()}
                   for cell in cells if cell]
        heights = [spread["median"] for spread in spreads]
        errors = [[spread["median"] - spread["q1"] for spread in spreads],
                  [spread["q3"] - spread["median"] for spread in spreads]]
        axes.bar(places, heights, width * 0.94, yerr=errors, color=colours[key], hatch=hatch,
                 edgecolor="white", linewidth=0.3, error_kw={"linewidth": 0.7},
                 label=setup.title)
    axes.set_xticks(range(len(points)), [SHORT[point] for point in points])
    if value != "gb_per_s":
        axes.set_yscale("log")
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
