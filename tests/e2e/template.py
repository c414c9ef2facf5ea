"""`template.yaml` as data, for the tests of what stands in it: as it is written, and as CloudFormation would take it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra.local.settings import ROOT, TEMPLATE

FUNCTIONS = {
    "ingest-relay": "Function",
    "dead-letter": "DeadLetterFunction",
    "ingest-watch": "IngestWatchFunction",
    "bulk-upload": "BulkUploadFunction",
}
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


NO_VALUE = {"Ref": "AWS::NoValue"}
"""What CloudFormation leaves out."""


def resolved(template: dict[str, Any], **chosen: str) -> dict[str, Any]:
    """The template as a stack with the parameters `chosen` has it; the others have their defaults, M3terOrgId `an-org`.

    Conditions, parameters and mappings are decided. What only a stack knows stays as it is written: `Ref` of a resource,
    `Fn::GetAtt`, `Fn::Sub`, and the functions around those.
    """
    assert chosen.keys() <= template["Parameters"].keys()
    defaults = {name: parameter.get("Default", "an-org") for name, parameter in template["Parameters"].items()}
    taken = _Taken(template, {name: str(value) for name, value in (defaults | chosen).items()})
    kept: dict[str, Any] = {**template}
    for section in ("Resources", "Outputs"):
        there = {name: one for name, one in template[section].items() if taken.holds(one.get("Condition"))}
        kept[section] = {name: taken.value(one) for name, one in there.items()}
    return kept


def refused(template: dict[str, Any], **chosen: str) -> list[str]:
    """What CloudFormation says, by the template's rules, to somebody who deploys it with the parameters `chosen`."""
    defaults = {name: parameter.get("Default", "an-org") for name, parameter in template["Parameters"].items()}
    taken = _Taken(template, defaults | chosen)
    asserted = (one for rule in template["Rules"].values() if taken.holds(rule["RuleCondition"]) for one in rule["Assertions"])
    return [one["AssertDescription"] for one in asserted if not taken.holds(one["Assert"])]


class _Taken:
    """How CloudFormation takes a template with certain parameters."""

    def __init__(self, template: dict[str, Any], parameters: dict[str, str]) -> None:
        self._conditions, self._mappings, self._parameters = template["Conditions"], template["Mappings"], parameters

    def holds(self, condition: Any) -> bool:
        """Whether a condition, by its name or written out, is true. No condition is."""
        if isinstance(condition, dict):
            [(function, arguments)] = condition.items()
            if function == "Fn::Equals":
                left, right = map(self.value, arguments)
                return bool(left == right)
            decided = map(self.holds, arguments)
            return {"Fn::Not": lambda: not next(decided), "Fn::And": lambda: all(decided), "Fn::Or": lambda: any(decided)}[
                function
            ]()
        return condition is None or self.holds(self._conditions[condition])

    def value(self, written: Any) -> Any:
        """What is written, decided as far as it can be here."""
        if isinstance(written, list):
            return [self.value(one) for one in written if self._chosen(one) != NO_VALUE]
        if not isinstance(written, dict):
            return written
        chosen = self._chosen(written)
        if chosen is not written:
            return self.value(chosen)
        if written.keys() == {"Ref"}:
            return self._parameters.get(written["Ref"], written)
        if written.keys() == {"Fn::FindInMap"}:
            place, *keys = map(self.value, written["Fn::FindInMap"])
            found = self._mappings[place]
            for key in keys:
                found = found[key]
            return found
        return {name: self.value(one) for name, one in written.items() if self._chosen(one) != NO_VALUE}

    def _chosen(self, written: Any) -> Any:
        """The branch of an `Fn::If` that is taken; anything else as it is."""
        if not isinstance(written, dict) or written.keys() != {"Fn::If"}:
            return written
        condition, then, otherwise = written["Fn::If"]
        return self._chosen(then if self.holds(condition) else otherwise)


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    """The properties of the resource `name`."""
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def alarms(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The properties of each alarm, by its name."""
    found = (name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm")
    return {name: properties(template, name) for name in found}


@dataclass(frozen=True)
class Watched:
    """A metric that an alarm looks at."""

    namespace: str
    name: str
    dimensions: dict[str, Any]
    statistic: str
    period: Any
    """In seconds, or how it is looked up."""


def watched(alarm: dict[str, Any]) -> list[Watched]:
    """The metrics that an alarm looks at: one, or those of its expression."""
    found = [(query["MetricStat"]["Metric"], query["MetricStat"]) for query in alarm.get("Metrics", []) if "MetricStat" in query]
    plain = [(alarm, {"Stat": alarm.get("Statistic"), "Period": alarm.get("Period")})]
    return [
        Watched(
            metric["Namespace"],
            metric["MetricName"],
            {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]},
            stat["Stat"],
            stat["Period"],
        )
        for metric, stat in found or plain
    ]


def statements(template: dict[str, Any], function: str) -> Iterator[dict[str, Any]]:
    """What a function may do in any case."""
    for policy in properties(template, f"{function}Role")["Policies"]:
        yield from (statement for statement in policy["PolicyDocument"]["Statement"] if "Fn::If" not in statement)


def printed(function: str) -> dict[str, set[frozenset[str]]]:
    """The metrics that a function prints, by name, each with its sets of dimensions; `function` is its name in the template.

    All have `Function`. A line of the table that names `Meter` or `Reason` among the meanings has it with these as well.
    """
    packages = {name: package for package, name in FUNCTIONS.items()}
    return {name: _dimensions(meaning) for name, _, meaning in metrics(packages[function])}


def metrics(package: str) -> list[tuple[str, str, str]]:
    """Name, unit and meaning of each metric that the function in `package` prints, in the order of its source."""
    table = (ROOT / "functions" / package / "src" / "metrics.rs").read_text().split("pub const METRICS", 1)[1]
    rows = re.findall(r'metric\(\s*"(\w+)",\s*"(\w+)",\s*"([^"]*)"', table.split("\n];", 1)[0])
    assert rows, f"expected a table of metrics in the source of {package}"
    return rows


def _dimensions(meaning: str) -> set[frozenset[str]]:
    more = {word for word in ("Meter", "Reason") if re.search(rf"\b{word}\b", meaning)}
    return {frozenset({"Function"}), frozenset({"Function", *more})}
