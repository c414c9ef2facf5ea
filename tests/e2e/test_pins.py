"""What is installed beside the crates is what was chosen: exact versions, and a hash for each file that may be fetched."""

import json
import re
from pathlib import Path

import pytest

from infra.local import install
from infra.local.settings import ROOT

PYTHON_TOOLS = sorted(install.ASKED_FOR)
NODE_LOCKS = ["infra/local/node/package-lock.json", "tests/bench/peers/node/package-lock.json"]


NAMED = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([^\s;]+)")
"""A package, perhaps with extras, and its version."""


def rows(file: Path) -> list[str]:
    """What a file says line by line, each with what it goes on with, without the lines that are remarks."""
    lines = file.read_text().replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def versions(file: Path) -> set[tuple[str, str]]:
    """Each package of a file, with its version. Fails for one that is named without."""
    found = [NAMED.match(row) for row in rows(file)]
    assert all(found), f"expected each line of {file} to name a package with an exact version"
    return {(_normal(each[1]), each[2]) for each in found if each is not None}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", PYTHON_TOOLS)
def test_every_python_package_has_one_version_and_hashes(name: str) -> None:
    asked, pinned = (install.ASKED_FOR[name] / file for file in ("requirements.txt", "constraints.txt"))
    assert versions(asked) <= versions(pinned), "run make pins"
    assert [row.split()[0] for row in rows(pinned) if "--hash=sha256:" not in row] == [], "run make pins"


@pytest.mark.parametrize("lock", NODE_LOCKS)
def test_every_node_package_has_a_hash(lock: str) -> None:
    packages = json.loads((ROOT / lock).read_text())["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []


def test_every_tool_that_cargo_installs_has_an_exact_version_and_its_own_lock_file() -> None:
    installed = re.findall(r"^\t.*cargo install .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(installed) >= 4
    assert [line for line in installed if "--locked" not in line or not re.search(r"--version \$\(\w+_VERSION\)", line)] == []
    assert re.findall(r"^(\w+_VERSION) := (?!\d+\.\d+\.\d+$)", (ROOT / "Makefile").read_text(), re.MULTILINE) == []
