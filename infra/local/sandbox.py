"""The sandbox: `usage-relay sandbox`, in m3ter's place.

It says where it listens with one JSON line on standard output, once it is ready.
"""

import json
import secrets
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from infra.local.processes import environment, running
from infra.local.settings import COMMAND_BINARY, START_DEADLINE_S, require
from infra.local.wait import until

CALL_TIMEOUT_S = 30
"""Longest wait for one answer. A ledger of 10,000 measurements takes well under a second."""


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, and the credentials it accepts."""

    url: str
    access_key_id: str
    api_secret: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """What a command needs to be let in. Never arguments: those are for everyone on the machine to read."""
        return {"M3TER_ACCESS_KEY_ID": self.access_key_id, "M3TER_API_SECRET": self.api_secret}

    def secret(self) -> str:
        """The content of the stack's secret."""
        return json.dumps({"access_key_id": self.access_key_id, "api_secret": self.api_secret})

    def ledger(self, measurements: bool = True) -> dict[str, Any]:
        """What the sandbox counted: totals, meters, requests, and each measurement if `measurements`."""
        return self._call("GET", f"/_sandbox/ledger?measurements={str(measurements).lower()}")

    def totals(self) -> dict[str, Any]:
        """What the sandbox counted, all in all."""
        found: dict[str, Any] = self._call("GET", "/_sandbox/ledger?requests=false")["totals"]
        return found

    def arrived(self, uid: str) -> bool:
        """Whether a measurement of this uid was accepted."""
        return bool(self._call("GET", f"/_sandbox/ledger?requests=false&{urlencode({'uid': uid})}")["measurements"])

    def add_fault(self, rule: Mapping[str, Any]) -> None:
        """Adds a rule to the script of faults."""
        self._call("POST", "/_sandbox/faults", rule)

    def faults(self) -> dict[str, Any]:
        """The script of faults: `rules`, each with how many requests it saw and fired for, and `fired` by kind."""
        found: dict[str, Any] = self._call("GET", "/_sandbox/faults")
        return found

    def faults_fired(self) -> Counter[str]:
        """How often each kind of fault happened so far."""
        return Counter(self.faults()["fired"])

    def advance_clock(self, seconds: int) -> None:
        """Moves the sandbox's clock on: tokens expire, and windows close."""
        self._call("POST", "/_sandbox/clock", {"advance_s": seconds})

    def clear_faults(self) -> None:
        """Ends all scripted trouble."""
        self._call("DELETE", "/_sandbox/faults")

    def _call(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": "application/json"}, method=method)
        # No proxy of the user's: this is loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=CALL_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")


@contextmanager
def sandbox(
    logs: Path, catalogue: Path | None = None, token_lifetime_s: int | None = None, frees_rejected_uids: bool = False
) -> Iterator[Sandbox]:
    """A sandbox for the length of the block, with credentials of its own.

    It has the meters and accounts of `catalogue`, and its tokens live `token_lifetime_s`, else as long as m3ter's.
    `frees_rejected_uids` says whether what was rejected may come again under its uid, which m3ter does not publish.
    """
    key_id, secret = f"key-{secrets.token_hex(8)}", f"secret-{secrets.token_hex(16)}"
    argv = [require(COMMAND_BINARY), "sandbox", "--listen", "127.0.0.1:0", "--json"]
    argv += ["--catalogue", catalogue] if catalogue else []
    argv += ["--token-lifetime-s", str(token_lifetime_s)] if token_lifetime_s else []
    argv += ["--rejected-uids", "free"] if frees_rejected_uids else []
    ready, errors = logs / "sandbox.json", logs / "sandbox.log"
    env = environment(M3TER_ACCESS_KEY_ID=key_id, M3TER_API_SECRET=secret)
    with running(argv, env, ready, errors) as process:
        url = until(lambda: _url(process, ready), f"the sandbox says where it listens, in {ready}", START_DEADLINE_S)
        yield Sandbox(url=url, access_key_id=key_id, api_secret=secret)


def _url(process: subprocess.Popen[bytes], ready: Path) -> str | None:
    if process.poll() is not None:
        raise RuntimeError(f"the sandbox ended with {process.returncode}: see {ready.with_suffix('.log')}")
    line, newline, _ = ready.read_text().partition("\n")
    return str(json.loads(line)["url"]).rstrip("/") if newline else None
