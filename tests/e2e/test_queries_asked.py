"""`python -m infra.queries`: one question of a store, from a shell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from infra.local.settings import ROOT
from infra.queries.__main__ import QUESTIONS

ENTRY = json.dumps(
    {
        "qid": "q-1",
        "uid": "u-1",
        "reason": "MeterInvalid",
        "stage": "guard",
        "detail": "expected a code",
        "quarantined_at": 1_780_272_000_000,
    }
)


def _ask(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "infra.queries", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_can_be_asked_of_a_store_without_anything_in_it(question: str, tmp_path: Path) -> None:
    done = _ask(tmp_path, question, *(["uid=u-1"] if question == "life" else []))
    assert (done.returncode, done.stderr) == (0, "") and "0 rows" in done.stdout


def test_what_is_in_the_store_is_told(tmp_path: Path) -> None:
    hour = tmp_path / "quarantine" / "v1" / "dt=2026-06-01" / "hr=00"
    hour.mkdir(parents=True)
    (hour / "i-1.ndjson.zst").write_bytes(zstandard.compress(f"{ENTRY}\n".encode()))
    assert "MeterInvalid" in _ask(tmp_path, "quarantine_now").stdout
    assert "quarantined" in _ask(tmp_path, "life", "uid=u-1").stdout
    assert "0 rows" in _ask(tmp_path, "life", "uid=u-2").stdout


def test_what_cannot_be_asked_is_told_in_words(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert _ask(nowhere, "life", "uid=u-1").stderr == f"expected a folder, and {nowhere} is none\n"
    for arguments, expected in [
        ([tmp_path, "lives"], "choose from"),
        ([tmp_path, "life"], "expected uid=UID"),
        ([tmp_path, "life", "u-1"], "expected NAME=VALUE"),
    ]:
        done = _ask(*arguments)
        assert done.returncode == 2 and expected in done.stderr
