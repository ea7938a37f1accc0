# SPDX-License-Identifier: Apache-2.0
"""The matrix: which combinations there are, and which few of them hold each value once."""

import itertools
from typing import NamedTuple

AXES = {
    "kernel": ("6.1", "6.12", "7.2"),
    "ring": ("split", "packed"),
    "address": ("bus", "offset"),
    "region": ("4M", "64M", "512M"),
    "cpus": ("1", "2"),
}


class Cell(NamedTuple):
    """One boot: a value of every axis, as on the command line."""

    kernel: str
    ring: str
    address: str
    region: str
    cpus: str

    @property
    def name(self):
        return f"{self.kernel}-{self.ring}-{self.address}-{self.region}-{self.cpus}cpu"


# What CI runs: every value of every axis is in one of them.
SMOKE = (
    Cell("6.1", "split", "offset", "4M", "1"),
    Cell("6.12", "packed", "offset", "512M", "2"),
    Cell("7.2", "packed", "bus", "64M", "2"),
)


def product():
    """All cells, kernel by kernel."""
    return [Cell(*values) for values in itertools.product(*AXES.values())]


def choose(cells, wanted):
    """Those of `cells` that have a wanted value on every axis; `wanted`: axis -> values or None."""
    return [cell for cell in cells
            if all(not values or getattr(cell, axis) in values for axis, values in wanted.items())]
