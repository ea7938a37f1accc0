# SPDX-License-Identifier: Apache-2.0
"""Medians, quartiles and ratios of runs."""

import statistics
from typing import NamedTuple


class Spread(NamedTuple):
    """What several runs came to."""

    median: float
    q1: float
    q3: float


def spread(values):
    """The median and the quartiles (of the values themselves, interpolated); one value is all
    three. Raises ValueError where there are none."""
    values = list(values)
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, q1, q3)


def ratio(value, to):
    """value / to; None where one of them is not there, or `to` is 0."""
    if value is None or not to:
        return None
    return value / to


def seconds_per_gb(cpu, gb_per_s):
    """Of a processor that was busy for the part `cpu` of each second; None where that is unknown,
    or nothing was moved."""
    return None if cpu is None else ratio(cpu, gb_per_s)
