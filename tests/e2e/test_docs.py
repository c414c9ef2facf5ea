"""What the documents name is there: files, places behind links, make's targets, the commands of `usage-relay` and their flags."""

import re
import subprocess
from collections.abc import Iterator
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
    "bulk-upload",
}
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:\s]*)#([^)\s]+)\)")
"""A place in a document: this one, where no file stands before it."""
PLACE = re.compile(r"`((?:crates|functions|infra|tests|docs)/[\w./-]+)`")
"""A path of the repository, as it stands in a sentence."""
MADE = re.compile(r"(?:^|`)make (?:-s )?([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`)usage-relay ([a-z][a-z-]*)", re.MULTILINE)


CALL = re.compile(r"(?:^ *|[`(|;&$] ?)usage-relay ([^`\n|;&#]*)", re.MULTILINE)
"""What stands behind the program's name, to the end of the command."""
SPAN = re.compile(r"`([^`\n]*)`")
FLAG = re.compile(r"(?:^|[\s\[])(--[a-z][a-z0-9-]*)")
OF_OTHERS = {"--endpoint-url", "--locked", "--metadata-directive"}
"""Flags of other programs that stand alone in a sentence."""


def _places(document: Path, file: str) -> set[str]:
    """The anchors that headings make in `file`, as `document` names it."""
    text = (ROOT / (document.parent / file if file else document)).read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def _help(*words: str) -> str:
    argv = [require(COMMAND_BINARY), *words, "--help"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _listed(told: str) -> list[str]:
    return [name for name in re.findall(r"^  ([a-z][a-z-]*) {2,}\S", told, re.MULTILINE) if name != "help"]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What each command says with `--help`, by what is typed for it."""
    told = {"": _help()}
    for name in _listed(told[""]):
        told[name] = _help(name)
        is_group = re.search(r"^Commands:$", told[name], re.MULTILINE)
        told |= {f"{name} {below}": _help(name, below) for below in _listed(told[name]) if is_group}
    return told


@pytest.fixture(scope="module")
def commands(helps: dict[str, str]) -> set[str]:
    """The commands that `usage-relay --help` lists."""
    return {typed for typed in helps if typed and " " not in typed} | {"help"}


def _flags(told: str) -> set[str]:
    return set(re.findall(r"^ +(?:-[a-zA-Z], )?(--[a-z][a-z0-9-]*)", told, re.MULTILINE))


def _calls(text: str, helps: dict[str, str]) -> Iterator[list[str]]:
    """What each command line of ours may stand for, also where a sentence leaves the program's name out, as in `list --all`."""
    text = text.replace("\\\n", " ")
    yield from ([call] for call in CALL.findall(text))
    groups = sorted({typed.split()[0] for typed in helps if " " in typed})
    for span in SPAN.findall(text):
        first = span.split(" ")[0]
        meant = [span] if first in helps else [f"{group} {span}" for group in groups if f"{group} {first}" in helps]
        if meant and first:
            yield meant


def _strange_flags(meant: list[str], helps: dict[str, str]) -> list[str]:
    """Flags in what is typed behind `usage-relay` that its command does not have, nor any other that may be meant."""
    found = []
    for call in meant:
        words = call.split()
        typed = next(typed for typed in (" ".join(words[:2]), " ".join(words[:1]), "") if typed in helps)
        found.append([f"usage-relay {typed} {flag}" for flag in FLAG.findall(call) if flag not in _flags(helps[typed])])
    return min(found, key=len)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_flag_in_a_document_is_one_of_its_command(document: Path, helps: dict[str, str]) -> None:
    text = (ROOT / document).read_text()
    assert [strange for meant in _calls(text, helps) for strange in _strange_flags(meant, helps)] == []
    anywhere = OF_OTHERS.union(*map(_flags, helps.values()))
    assert {flag for span in SPAN.findall(text) if span.startswith("--") for flag in FLAG.findall(span)} <= anywhere


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_names_exists(document: Path, commands: set[str]) -> None:
    text = (ROOT / document).read_text()
    missing = [link for link in LINK.findall(text) if not (ROOT / document.parent / link).exists()]
    missing += [place for place in PLACE.findall(text) if not (ROOT / place).exists()]
    missing += [f"{file}#{place}" for file, place in ANCHOR.findall(text) if place not in _places(document, file)]
    missing += [f"make {target}" for target in MADE.findall(text) if target not in TARGETS]
    missing += [f"usage-relay {command}" for command in COMMAND.findall(text) if command not in commands]
    assert missing == []


def test_the_check_finds_names_in_the_documents(commands: set[str]) -> None:
    readme = (ROOT / "README.md").read_text()
    assert {"docs/ARCHITECTURE.md", "tests/bench/README.md"} <= set(LINK.findall(readme))
    assert ("docs/OPERATING.md", "the-dashboard") in ANCHOR.findall(readme) and "the-dashboard" in _places(
        Path(), "docs/OPERATING.md"
    )
    assert "crates/upload" in PLACE.findall((ROOT / "docs" / "ARCHITECTURE.md").read_text())
    assert {"demo", "deploy"} <= set(MADE.findall(readme)) <= TARGETS
    assert {"send", "explain", "doctor"} <= set(COMMAND.findall(readme)) <= commands


def test_the_check_finds_flags_in_the_documents_and_those_that_are_not_there(helps: dict[str, str]) -> None:
    readme = list(_calls((ROOT / "README.md").read_text(), helps))
    flags = {flag for meant in readme for flag in FLAG.findall(meant[0])}
    assert {"--stack-name", "--queue-url", "--per-second"} <= flags
    text = "Run `usage-relay replay --qid Q --nwe-uid`, `replay --yse` or `drop --beacuse`:\n\n"
    text += "    usage-relay send \\\n      --quue-url x | jq --raw\n"
    found = [strange for meant in _calls(text, helps) for strange in _strange_flags(meant, helps)]
    assert sorted(found) == [
        "usage-relay quarantine drop --beacuse",
        "usage-relay replay --nwe-uid",
        "usage-relay replay --yse",
        "usage-relay send --quue-url",
    ]
