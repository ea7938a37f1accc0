# SPDX-License-Identifier: Apache-2.0
"""What a measurement came to: as a file of JSON, and as numbers to ask for."""

import json

from . import plan
from .spread import ratio, seconds_per_gb, spread

LATENCIES = ("p50_us", "p99_us", "p999_us")


def to_json(runs, method, about, failures, repeated):
    """The whole file. `runs`: of runs.Bench.measure(); `about`: what was measured, and where."""
    cells = [_cell(setup, point, made, method.others_most)
             for (setup, point), made in runs.items() if made]
    return {**about, "method": {**method._asdict(), "repeated": repeated}, "results": cells,
            "failures": failures}


def _cell(setup, point, runs, others_most):
    cell = {"setup": {**setup._asdict(), "name": setup.name, "title": setup.title},
            "point": {**point._asdict(), "name": point.name, "title": point.title}}
    del cell["setup"]["points"]
    for name in ("iops", "gb_per_s", *LATENCIES):
        cell[name] = spread(run.values[name] for run in runs)._asdict()
    for side in ("client", "server"):
        costs = [seconds_per_gb(getattr(run, f"cpu_{side}"), run.values["gb_per_s"])
                 for run in runs]
        known = [cost for cost in costs if cost is not None]
        cell[f"{side}_cpu_s_per_gb"] = spread(known)._asdict() if known else None
    cell["disturbed"] = sum(run.disturbed(others_most) for run in runs)
    cell["runs"] = [{**run.values, "cpu_client": run.cpu_client, "cpu_server": run.cpu_server,
                     "others": round(run.others, 3), "steal": round(run.steal, 3),
                     "attempts": run.attempts} for run in runs]
    return cell


def dump(data):
    """JSON with a line for each run and each value of a cell, so that two files compare well."""
    def lines(value, indent):
        pad = " " * indent
        flat = not isinstance(value, (dict, list)) or not any(
            isinstance(part, (dict, list))
            for part in (value.values() if isinstance(value, dict) else value))
        if flat or not value:
            return json.dumps(value)
        if isinstance(value, list):
            inner = ",\n".join(f"{pad} {lines(part, indent + 1)}" for part in value)
            return f"[\n{inner}\n{pad}]"
        inner = ",\n".join(f"{pad} {json.dumps(key)}: {lines(part, indent + 1)}"
                           for key, part in value.items())
        return f"{{\n{inner}\n{pad}}}"
    return lines(_rounded(data), 0) + "\n"


def _rounded(value):
    """Five significant digits are more than any measurement has."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return value


class Results:
    """A file of JSON, to ask for its numbers."""

    def __init__(self, data):
        self.data = data
        self._cells = {(cell["setup"]["name"], cell["point"]["name"]): cell
                       for cell in data["results"]}

    def cell(self, setup, point):
        """Of a plan.Setup at a plan.Point, or where that has no depth at depth 1; None if it was
        not measured."""
        at = plan.at_depth(setup, point)
        return self._cells.get((setup.name, at.name)) if at else None

    def iops(self, setup, point):
        """The median; None if it was not measured."""
        cell = self.cell(setup, point)
        return cell["iops"]["median"] if cell else None

    def best(self, setups, point):
        """The highest median of some setups; None if none was measured."""
        known = [iops for iops in (self.iops(setup, point) for setup in setups)
                 if iops is not None]
        return max(known, default=None)

    def ratio(self, setup, to, point):
        """To the best of the setups `to`; None if one side was not measured."""
        return ratio(self.iops(setup, point), self.best(to, point))
