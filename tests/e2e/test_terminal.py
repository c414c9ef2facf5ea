"""What only a terminal gets to see: progress on standard error, colour on standard output. A file or a pipe holds neither."""

import json
import os
import pty
import re
import subprocess
import threading
import urllib.request
from pathlib import Path

from infra.local.sandbox import sandbox
from infra.local.settings import COMMAND_BINARY, ORG_ID, require
from tests.e2e import sdk

DEADLINE_S = 60.0
ESCAPE = "\x1b["
NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "TERM": "xterm-256color",
}
"""Nobody listens there: doctor says what is wrong, in red."""
DOCTOR = ("doctor", "--function-name", "relay")


def _run(*arguments: str | Path, terminal: str, **more: str) -> tuple[str, str]:
    """What a command says on standard output and on standard error, of which `terminal` is one."""
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def listen() -> None:
        try:
            while part := os.read(master, 65_536):
                seen.append(part)
        except OSError:
            pass  # Linux says so when the other end is closed.

    listener = threading.Thread(target=listen)
    listener.start()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {terminal: slave}
    argv = [str(word) for word in (require(COMMAND_BINARY), *arguments)]
    with subprocess.Popen(argv, env=NOWHERE | more, stdin=subprocess.DEVNULL, **streams) as child:
        os.close(slave)
        piped = child.communicate(timeout=DEADLINE_S)
    listener.join()
    os.close(master)
    screen = b"".join(seen).decode()
    out, err = (screen if name == terminal else (piped[place] or b"").decode() for place, name in enumerate(("stdout", "stderr")))
    return out, err


def _usage(folder: Path, count: int) -> Path:
    """A file that takes a while to check."""
    path = folder / "usage.ndjson"
    row = {"meter": "m", "account": "a", "ts": "2026-01-01T00:00:00Z", "measure": {"calls": 1}}
    path.write_text("".join(json.dumps({"uid": f"u-{number}", **row}) + "\n" for number in range(count)))
    return path


def test_progress_is_drawn_on_a_terminal_and_taken_off_it_again(tmp_path: Path) -> None:
    out, err = _run("check", _usage(tmp_path, 50_000), terminal="stderr")
    assert "bytes checked" in err
    assert err.endswith(f"{ESCAPE}2K"), "the last line of it is blank again"
    assert ESCAPE not in out and "50,000 measurements, 50,000 good" in out


def test_a_pipe_gets_no_progress_also_where_the_result_goes_to_a_terminal(tmp_path: Path) -> None:
    _, err = _run("check", _usage(tmp_path, 1_000), terminal="stdout")
    assert err == ""


def test_who_waits_for_a_job_sees_rows_and_how_long_it_still_takes(tmp_path: Path) -> None:
    # No measurements, but rows: at 2,000 a second they take two seconds.
    file = json.dumps([0] * 4_000).encode()
    with sandbox(tmp_path) as m3ter, sdk.client(m3ter) as client:
        asked = client.usage.file_uploads.generate_upload_url
        given = asked(file_name="usage.json", content_type="application/json", content_length=len(file))
        assert given.job_id is not None and given.url is not None and given.headers is not None
        with urllib.request.urlopen(urllib.request.Request(given.url, file, given.headers, method="PUT"), timeout=DEADLINE_S):
            pass
        words = ("jobs", "wait", given.job_id, "--org-id", ORG_ID, "--api-url", m3ter.url)
        out, err = _run(*words, terminal="stderr", **m3ter.environment())
    assert "of 4,000 rows processed (a few seconds left)" in err
    assert not re.sub(r"\x1b\[\d*[ABK]|\s", "", err.rpartition("left)")[2]), "nothing of it stays"
    assert out == f"job {given.job_id} (usage.json) succeeded: 4,000 of 4,000 rows processed, of which 4,000 failed\n"


def test_a_result_is_coloured_on_a_terminal_and_nowhere_else() -> None:
    screen, _ = _run(*DOCTOR, terminal="stdout")
    assert f"{ESCAPE}31mFAIL{ESCAPE}0m" in screen
    piped, _ = _run(*DOCTOR, terminal="stderr")
    assert ESCAPE not in piped and piped.count("FAIL") == screen.count("FAIL")


def test_no_color_is_honoured_in_results_and_in_help() -> None:
    for words in (DOCTOR, ("--help",)):
        coloured, _ = _run(*words, terminal="stdout")
        plain, _ = _run(*words, terminal="stdout", NO_COLOR="1")
        assert ESCAPE in coloured and ESCAPE not in plain, words
