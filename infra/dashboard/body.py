"""The dashboard's JSON out of the template's text, as widgets and what each draws.

The text is read line by line, since Python's standard library reads no YAML; a test holds this reading to a real parser's.

What is absent: the values of the stack. Each resource stands there under its name in the template, which is also how `lines`
calls the functions.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OPENS = "      DashboardBody: !Sub"
"""The line above the dashboard's JSON; then comes one with the dash of a literal block."""

AWS = re.compile(r"^AWS/")
"""Namespaces of what AWS itself measures."""


@dataclass(frozen=True)
class Drawn:
    """One line of a widget's legend: a metric or an expression over others."""

    id: str
    label: str
    stat: str
    color: str | None
    visible: bool
    expression: str | None
    namespace: str = ""
    name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Widget:
    """A widget, placed on CloudWatch's grid of 24 columns."""

    kind: str
    x: int
    y: int
    width: int
    height: int
    title: str
    view: str
    stacked: bool
    axis: str
    """What the axis counts, in words."""
    axis_max: float | None
    drawn: tuple[Drawn, ...]
    alarms: tuple[str, ...]


LABEL = re.compile(r"^ +(?:- )?(\w+): (\$\{PROP\('Dim\.\w+'\)\})$", re.MULTILINE)
"""A value that is put into the JSON for CloudWatch to fill in: its name, and what it says."""


def block(template: str) -> str:
    """The dashboard's JSON as it stands in `template`, before anything is put in."""
    lines = iter(template.splitlines())
    if OPENS not in lines:  # consumes up to that line
        raise ValueError(f"expected a line {OPENS!r} in the template")
    dash = next(lines, "")
    if dash.strip() != "- |":
        raise ValueError(f"expected a literal block below {OPENS.strip()!r}, found {dash.strip()!r}")
    indent = " " * (dash.index("-") + 2)
    kept = []
    for line in lines:
        if line and not line.startswith(indent):
            break
        kept.append(line.removeprefix(indent))
    return "\n".join(kept).rstrip("\n") + "\n"


def substituted(text: str, values: Mapping[str, str] | None = None) -> str:
    """What CloudFormation makes of `text`: `${Name}` becomes its value, or its name if it has none; `${!x}` becomes `${x}`."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        return "${" + name[1:] + "}" if name.startswith("!") else (values or {}).get(name, name)

    return re.sub(r"\$\{([^}]+)\}", value, text)


def widgets(template: str) -> list[Widget]:
    """The widgets of the template's dashboard, in its order."""
    labels = dict(LABEL.findall(template))
    return [_widget(found) for found in json.loads(substituted(block(template), labels))["widgets"]]


def _widget(found: Mapping[str, Any]) -> Widget:
    properties = found["properties"]
    left = properties.get("yAxis", {}).get("left", {})
    return Widget(
        kind=found["type"],
        x=found["x"],
        y=found["y"],
        width=found["width"],
        height=found["height"],
        title=properties["title"],
        view=properties.get("view", "timeSeries"),
        stacked=properties.get("stacked", False),
        axis=left.get("label", ""),
        axis_max=left.get("max"),
        drawn=tuple(_drawn(properties.get("metrics", []), properties.get("stat", "Average"))),
        alarms=tuple(properties.get("alarms", [])),
    )


def _drawn(metrics: list[list[Any]], stat: str) -> Iterator[Drawn]:
    above: list[str] = []
    for metric in metrics:
        words = [word for word in metric if isinstance(word, str)]
        options = metric[-1] if isinstance(metric[-1], dict) else {}
        name = ""
        if words:
            # A dot stands for the word above it.
            above = [above[place] if word == "." else word for place, word in enumerate(words)]
            name = above[1]
        yield Drawn(
            id=options.get("id", ""),
            label=options.get("label", name),
            stat=options.get("stat", stat),
            color=options.get("color"),
            visible=options.get("visible", True),
            expression=options.get("expression"),
            namespace=above[0] if words else "",
            name=name,
            dimensions=tuple(zip(above[2::2], above[3::2], strict=True)) if words else (),
        )
