"""What the functions printed -> numbers over time, and CloudWatch's metric math over them.

Time is cut into bins, as CloudWatch cuts it into periods; only shorter, since a local run takes seconds.

What is absent: anything that no function printed. A series that AWS alone could fill is `None`, not nothing and not zero.
"""

import ast
import json
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.dashboard.body import AWS, Drawn, Widget

BIN_LENGTHS_S = (1, 2, 5, 10, 30, 60, 300)
"""How long a bin may be; the shortest that gives at most `BINS_MAX`."""
BINS_MAX = 60

Series = dict[int, float]
"""Values by the number of their bin."""

Key = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and dimensions of a metric."""


@dataclass(frozen=True)
class Told:
    """All that was printed."""

    values: Mapping[Key, list[tuple[int, float]]]
    """Each metric's values with their times in milliseconds since the epoch."""
    first_ms: int
    last_ms: int
    bin_s: int

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return (self.last_ms - self.first_ms) // (self.bin_s * 1000) + 1


def told(lines: Iterable[str]) -> Told:
    """Reads `lines`; one that is not JSON, or carries no metrics, is passed over."""
    values: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        parsed = json.loads(line) if line.startswith("{") else {}
        for directive in parsed.get("_aws", {}).get("CloudWatchMetrics", []):
            at_ms = parsed["_aws"]["Timestamp"]
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, _resource(parsed[name]) if name == "Function" else parsed[name]) for name in names)
                for metric in directive["Metrics"]:
                    found = parsed[metric["Name"]]
                    key = (directive["Namespace"], metric["Name"], dimensions)
                    values[key] += [(at_ms, float(value)) for value in (found if isinstance(found, list) else [found])]
    times = [at_ms for found in values.values() for at_ms, _ in found]
    if not times:
        raise ValueError("expected lines with embedded metrics, as the functions print them, and found none")
    first_ms, last_ms = min(times), max(times)
    span_s = (last_ms - first_ms) / 1000
    bin_s = next((length for length in BIN_LENGTHS_S if span_s / length < BINS_MAX), BIN_LENGTHS_S[-1])
    return Told(values, first_ms, last_ms, bin_s)


def _resource(function: str) -> str:
    """A function's name in the template. CloudFormation calls it STACK-NAME-RANDOM."""
    parts = function.split("-")
    return parts[-2] if len(parts) > 2 else function


def series(widget: Widget, told: Told, whole: bool = False) -> list[tuple[Drawn, str, Series | None]]:
    """What `widget` shows: each visible line with its label and its values, `None` where only AWS has them.

    `whole`: one bin that holds all of the time.
    """
    by_id = {drawn.id: drawn for drawn in widget.drawn if drawn.id}
    found: list[tuple[Drawn, str, Series | None]] = []
    for drawn in widget.drawn:
        if not drawn.visible:
            continue
        if drawn.expression is not None and drawn.expression.startswith("SEARCH("):
            found += [(drawn, label, values) for label, values in _searched(drawn, told, whole)]
        else:
            found.append((drawn, drawn.label, _value(drawn, by_id, told, whole)))
    return found


def _value(drawn: Drawn, by_id: Mapping[str, Drawn], told: Told, whole: bool) -> Series | None:
    if drawn.expression is None:
        if AWS.match(drawn.namespace):
            return None
        key = (drawn.namespace, drawn.name, frozenset(drawn.dimensions))
        return _binned(told.values.get(key, []), drawn.stat, told, whole)
    tree = ast.parse(drawn.expression, mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    inputs = {name: _value(by_id[name], by_id, told, whole) for name in sorted(names) if name in by_id}
    if any(values is None for values in inputs.values()):
        return None
    if names - inputs.keys():
        raise ValueError(f"expected every name in {drawn.expression!r} to be an id of the same widget")
    bins = sorted({place for values in inputs.values() for place in values or {}})
    computed = {
        place: _computed(tree.body, {name: (values or {}).get(place) for name, values in inputs.items()}) for place in bins
    }
    return {place: value for place, value in computed.items() if value is not None}


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _computed(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    """One value of an expression; `None` where a value is missing, as in CloudWatch."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _computed(node.left, values), _computed(node.right, values)
        if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
            return None
        return _OPERATORS[type(node.op)](left, right)
    raise ValueError(f"expected sums, products and numbers in an expression, found {ast.unparse(node)!r}")


SEARCH = re.compile(r"""SEARCH\('\{(\w+),([\w,]+)\} Function="(\w+)" MetricName="(\w+)"', '(\w+)', \d+\)""")
"""The one kind of search that the dashboard has: namespace, dimensions, function, metric, statistic."""


def _searched(drawn: Drawn, told: Told, whole: bool) -> list[tuple[str, Series]]:
    parsed = SEARCH.fullmatch(drawn.expression or "")
    if parsed is None:
        raise ValueError(f"expected a search for a metric of one function, found {drawn.expression!r}")
    namespace, dimensions, function, name, stat = parsed.groups()
    found = []
    for (its_namespace, its_name, its_dimensions), values in told.values.items():
        by_name = dict(its_dimensions)
        if (its_namespace, its_name, by_name.get("Function")) != (namespace, name, function):
            continue
        if by_name.keys() == set(dimensions.split(",")):
            label = re.sub(r"\$\{PROP\('Dim\.(\w+)'\)\}", lambda prop, by_name=by_name: by_name[prop.group(1)], drawn.label)
            found.append((label, _binned(values, stat, told, whole)))
    return sorted(found, key=lambda one: (-sum(one[1].values()), one[0]))


def _binned(values: list[tuple[int, float]], stat: str, told: Told, whole: bool) -> Series:
    bins: dict[int, list[float]] = defaultdict(list)
    for at_ms, value in values:
        bins[0 if whole else (at_ms - told.first_ms) // (told.bin_s * 1000)].append(value)
    return {place: _statistic(found, stat) for place, found in sorted(bins.items())}


def _statistic(values: list[float], stat: str) -> float:
    simple: dict[str, Callable[[list[float]], Any]] = {"Sum": sum, "Maximum": max, "Minimum": min, "SampleCount": len}
    if stat in simple:
        return float(simple[stat](values))
    if stat == "Average":
        return sum(values) / len(values)
    if re.fullmatch(r"p\d\d?", stat):
        return sorted(values)[math.ceil(int(stat[1:]) / 100 * len(values)) - 1]
    raise ValueError(f"expected a statistic such as Sum, Average or p99, found {stat!r}")
