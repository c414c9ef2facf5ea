"""What the documents name is there: files behind links, make's targets, the commands of `usage-relay`."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.local.settings import COMMAND_BINARY, ROOT, require

DOCUMENTS = [
    Path(name)
    for name in subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {
    "ingest-relay",
    "dead-letter",
    "ingest-watch",
}
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
MADE = re.compile(r"(?:^|`)make (?:-s )?([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`)usage-relay ([a-z][a-z-]*)", re.MULTILINE)


@pytest.fixture(scope="module")
def commands() -> set[str]:
    """The commands that `usage-relay --help` lists."""
    told = subprocess.run([require(COMMAND_BINARY), "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z][a-z-]*) {2,}\S", told, re.MULTILINE)) | {"help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_names_exists(document: Path, commands: set[str]) -> None:
    text = (ROOT / document).read_text()
    missing = [link for link in LINK.findall(text) if not (ROOT / document.parent / link).exists()]
    missing += [f"make {target}" for target in MADE.findall(text) if target not in TARGETS]
    missing += [f"usage-relay {command}" for command in COMMAND.findall(text) if command not in commands]
    assert missing == []


def test_the_check_finds_names_in_the_documents(commands: set[str]) -> None:
    readme = (ROOT / "README.md").read_text()
    assert {"docs/ARCHITECTURE.md", "tests/bench/README.md"} <= set(LINK.findall(readme))
    assert {"demo", "deploy"} <= set(MADE.findall(readme)) <= TARGETS
    assert {"send", "explain", "doctor"} <= set(COMMAND.findall(readme)) <= commands
