"""Writes `variables.tf`, or looks whether it is what it should be: `--check`."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from infra.local.settings import TEMPLATE

VARIABLES = Path(__file__).with_name("variables.tf")

HEAD = """\
# Made from the parameters of template.yaml by `python -m infra.terraform`: change them there. They have the names that they have
# there, so that docs and descriptions hold for both. CloudFormation says what is wrong with a value.
"""


def main() -> int:
    """Writes the file. With `--check` it is left alone, and the exit code is 1 if it is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m infra.terraform", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only look")
    made = variables(TEMPLATE.read_text())
    if not parser.parse_args().check:
        VARIABLES.write_text(made)
    elif VARIABLES.read_text() != made:
        print(f"{VARIABLES} is not what template.yaml makes it: run python -m infra.terraform", file=sys.stderr)
        return 1
    return 0


def variables(template: str) -> str:
    """The text of `variables.tf` for this template."""
    parameters = yaml.safe_load(_section(template, "Parameters"))["Parameters"]
    longest = max(map(len, parameters))
    handed = "\n".join(f"    {name.ljust(longest)} = var.{name}" for name in parameters)
    blocks = [_variable(name, parameter) for name, parameter in parameters.items()]
    return "\n".join([HEAD, "locals {\n  parameters = {", handed, "  }\n}\n", "\n".join(blocks)])


def _section(template: str, name: str) -> str:
    """One section of the template. The others hold CloudFormation's short forms, which are no plain YAML."""
    found = re.search(rf"^{name}:\n(?:[ #].*\n|\n)*", template, re.MULTILINE)
    if found is None:
        raise ValueError(f"expected the template to have a section {name}")
    return found[0]


def _variable(name: str, parameter: dict[str, Any]) -> str:
    number = parameter["Type"] == "Number"
    lines = [("description", _text(parameter["Description"])), ("type", "number" if number else "string")]
    if "Default" in parameter:
        lines.append(("default", str(parameter["Default"]) if number else _text(str(parameter["Default"]))))
    longest = max(len(key) for key, _ in lines)
    return "\n".join([f'variable "{name}" {{', *(f"  {key.ljust(longest)} = {value}" for key, value in lines), "}\n"])


def _text(text: str) -> str:
    # Terraform's strings are JSON's, but for its templates.
    return json.dumps(text.strip(), ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


if __name__ == "__main__":
    sys.exit(main())
