"""infra/terraform says what the template says. Terraform is not run here: its files are parsed, and held against the template."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from infra.local.settings import LOCAL, TEMPLATE
from infra.terraform.__main__ import VARIABLES, variables
from tests.e2e.template import FUNCTIONS, load

FILES = sorted(VARIABLES.parent.glob("*.tf"))
LABELS = {"variable": 1, "output": 1, "resource": 2, "data": 2, "locals": 0}
"""How many labels each kind of block has."""


@cache
def parsed(file: Path) -> dict[str, Any]:
    """A file of Terraform's as data: of each kind of block, all there are. What is an expression stands as `${…}`."""
    command = [LOCAL / "sam" / "bin" / "hcl2tojson", file]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def blocks(kind: str) -> dict[str, dict[str, Any]]:
    """The blocks of this kind in all files, by their labels; what they say, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for block in (block for file in FILES for block in parsed(file).get(kind, [])):
        labels = []
        for _ in range(LABELS[kind]):
            [(label, block)] = block.items()
            labels.append(label)
        name = ".".join(labels)
        # The parser puts each value into a list, since a block may stand there several times.
        said = {key: value[0] for key, value in block.items() if not key.startswith("__")}
        assert not found.get(name, {}).keys() & said.keys(), f"expected {kind} {name} to say each thing once"
        found[name] = found.get(name, {}) | said
    return found


def test_the_variables_are_the_templates_parameters() -> None:
    parameters = load()["Parameters"]
    found = {name: body for name, body in blocks("variable").items() if name not in ("code_bucket", "stack_name")}
    assert list(found) == list(parameters)
    for name, parameter in parameters.items():
        variable = found[name]
        assert variable["description"].strip() == parameter["Description"].strip()
        assert ("default" in variable) == ("Default" in parameter)
        assert str(variable.get("default", "")) == str(parameter.get("Default", ""))
        assert variable["type"].strip("${}") == ("number" if parameter["Type"] == "Number" else "string")


def test_every_variable_is_handed_to_the_stack() -> None:
    assert blocks("locals")[""]["parameters"] == {name: f"${{var.{name}}}" for name in load()["Parameters"]}
    assert blocks("resource")["aws_cloudformation_stack.relay"]["parameters"] == "${local.parameters}"


def test_what_makes_the_variables_is_what_made_them() -> None:
    assert VARIABLES.read_text() == variables(TEMPLATE.read_text()), "run python -m infra.terraform"


def test_nothing_is_named_that_is_not_there() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    for kind, block in (("var", "variable"), ("local", "locals")):
        there = set(blocks(block)) if block == "variable" else set(blocks(block)[""])
        assert set(re.findall(rf"\b{kind}\.(\w+)", text)) <= there
    assert set(re.findall(r"\b(aws_\w+\.\w+)", text)) <= {*blocks("resource"), *blocks("data")}


def test_the_stack_is_the_only_resource_but_for_the_files_it_is_made_of() -> None:
    assert list(blocks("resource")) == ["aws_s3_object.zip", "aws_s3_object.template", "aws_cloudformation_stack.relay"]


def test_the_lines_that_are_changed_are_those_that_name_the_functions_code() -> None:
    constants = blocks("locals")[""]
    changed = [line for line in TEMPLATE.read_text().split("\n") if re.search(constants["code"], line)]
    assert [re.search(constants["code"], line)[1] for line in changed] == list(FUNCTIONS)  # type: ignore[index]
    assert all(re.fullmatch(r"      CodeUri: \S+(?: +#.*)?", line) for line in changed)
    assert re.findall(r"'([a-z-]+)'", constants["functions"]) == list(FUNCTIONS)
    assert len(changed) == TEMPLATE.read_text().count("AWS::Serverless::Function\n")


def test_the_stack_may_do_what_the_template_needs() -> None:
    stack = blocks("resource")["aws_cloudformation_stack.relay"]
    assert stack["capabilities"] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert blocks("output")["outputs"]["value"] == "${aws_cloudformation_stack.relay.outputs}"
