# SPDX-License-Identifier: Apache-2.0
"""The measurement of network cards in a guest, for people."""

from airlock_bench.spread import ratio

from . import measure


def ratios(data, card, to):
    """By way: the median of bytes a second, of one card to another."""
    medians = {(cell["card"], cell["way"]): cell["mb_per_s"]["median"] for cell in data["results"]}
    return {way: ratio(medians.get((card, way)), medians.get((to, way))) for way in measure.WAYS}


def text(data):
    """Markdown."""
    lines = [
        f"# Network cards in a guest, {data['date']}", "",
        f"Made by `{data['command']}`. {data['machine']['cpu']}, {data['machine']['cpus']} "
        f"processors, Linux {data['machine']['kernel']}; a guest with Linux {data['kernel']}, one "
        f"processor, emulated by {data['accelerator']}. {data['rounds']} rounds, in which each "
        f"card moves {data['size_mib']} MiB each way between the guest and servers on the "
        "host's loopback; medians, with the quartiles. All cards are in one guest, each with a "
        "passt of its own.",
        "", "## Target", "",
        "| Airlock's card to passt's own vhost-user mode | ratio | at least | |",
        "|---|---|---|---|"]
    for way, value in ratios(data, measure.NATIVE, measure.PASST).items():
        lines.append(f"| {way} | {value:.3g} | 1 | {'met' if value >= 1 else '**missed**'} |")
    for way in measure.WAYS:
        lines += ["", f"## {way}", "", "| | MB/s | to passt's own |", "|---|---|---|"]
        for cell in data["results"]:
            if cell["way"] != way:
                continue
            rate = cell["mb_per_s"]
            to = ratios(data, cell["card"], measure.PASST)[way]
            lines.append(f"| {data['cards'][cell['card']]} | {rate['median']:.3g} "
                         f"[{rate['q1']:.3g}-{rate['q3']:.3g}] | {to:.3g} |")
    return "\n".join(lines) + "\n"
