"""`template.yaml` as data, for the tests of what stands in it."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from infra.local.settings import ROOT, TEMPLATE

FUNCTIONS = {"ingest-relay": "Function", "dead-letter": "DeadLetterFunction", "ingest-watch": "IngestWatchFunction"}
"""The functions' packages, and what they are called in the template."""


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as their long ones: `!Ref X` as `{"Ref": "X"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {name: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def load() -> dict[str, Any]:
    """The template, as data."""
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader=_Loader)
    return found


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    """The properties of the resource `name`."""
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def alarms(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The properties of each alarm, by its name."""
    found = (name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm")
    return {name: properties(template, name) for name in found}


def statements(template: dict[str, Any], function: str) -> Iterator[dict[str, Any]]:
    """What a function may do in any case."""
    for policy in properties(template, f"{function}Role")["Policies"]:
        yield from (statement for statement in policy["PolicyDocument"]["Statement"] if "Fn::If" not in statement)


def printed(function: str) -> dict[str, set[frozenset[str]]]:
    """The metrics that a function prints, by name, each with its sets of dimensions; `function` is its name in the template.

    All have `Function`. A line of the table that names `Meter` or `Reason` among the meanings has it with these as well.
    """
    packages = {name: package for package, name in FUNCTIONS.items()}
    table = (ROOT / "functions" / packages[function] / "src" / "metrics.rs").read_text().split("pub const METRICS", 1)[1]
    rows = re.findall(r'metric\(\s*"(\w+)",\s*"\w+",\s*"([^"]*)"', table.split("\n];", 1)[0])
    assert rows, f"expected a table of metrics in the source of {function}"
    return {name: _dimensions(meaning) for name, meaning in rows}


def _dimensions(meaning: str) -> set[frozenset[str]]:
    more = {word for word in ("Meter", "Reason") if re.search(rf"\b{word}\b", meaning)}
    return {frozenset({"Function"}), frozenset({"Function", *more})}
