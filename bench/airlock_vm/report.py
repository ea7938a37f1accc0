# SPDX-License-Identifier: Apache-2.0
"""The measurement in a guest, for people."""

from airlock_bench.spread import ratio

from . import measure

TITLES = {"randread": "random read", "randwrite": "random write", "read": "sequential read",
          "write": "sequential write"}


def title(point):
    """Of a point, as a person says it."""
    rw, size, depth = point.split(":")
    return f"{size} {TITLES[rw]}, depth {depth}"


def ratios(data, disk, to):
    """By point: the median of requests a second, of one disk to another."""
    medians = {(cell["disk"], cell["point"]): cell["iops"]["median"] for cell in data["results"]}
    return {point: ratio(medians.get((disk, point)), medians.get((to, point)))
            for point in dict.fromkeys(cell["point"] for cell in data["results"])}


def text(data):
    """Markdown."""
    lines = [
        f"# A disk in a guest, {data['date']}", "",
        f"Made by `{data['command']}`. {data['machine']['cpu']}, {data['machine']['cpus']} "
        f"processors, Linux {data['machine']['kernel']}; a guest with Linux {data['kernel']}, one "
        f"processor, emulated by {data['accelerator']}. {data['rounds']} rounds of runs of "
        f"{data['seconds']} s; medians, with the quartiles. All disks are in one guest, over files "
        f"of {data['size_mib']} MiB on a tmpfs. `swiotlb=force` is for those drivers that ask "
        "Linux where a device may reach: QEMU's disk without `iommu_platform` does not, and ours "
        "has a pool of its own. Processor time is that of QEMU with the guest and of the device's "
        "processes, for a request.",
        "", "## Targets", "",
        "| Airlock to QEMU's own under `swiotlb=force` | ratio | at least | |", "|---|---|---|---|"]
    for point, value in ratios(data, measure.OURS, measure.SWIOTLB).items():
        lines.append(f"| {title(point)} | {value:.3g} | 1 | "
                     f"{'met' if value >= 1 else '**missed**'} |")
    for point in dict.fromkeys(cell["point"] for cell in data["results"]):
        lines += ["", f"## {title(point)}", "",
                  "| | requests a second | us of processors a request | to QEMU under swiotlb |",
                  "|---|---|---|---|"]
        for cell in data["results"]:
            if cell["point"] != point:
                continue
            iops, cpu = cell["iops"], cell["cpu_us"]
            to = ratios(data, cell["disk"], measure.SWIOTLB)[point]
            lines.append(f"| {data['disks'][cell['disk']]} | {iops['median']:.4g} "
                         f"[{iops['q1']:.4g}-{iops['q3']:.4g}] | {cpu['median']:.3g} | {to:.3g} |")
    return "\n".join(lines) + "\n"
