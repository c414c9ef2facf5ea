"""The console, started over a local relay, and what its page shows.

It says where it listens with one JSON line on standard output, as the sandbox does.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.local.processes import running
from infra.local.settings import COMMAND_BINARY, require
from infra.local.setup import Local
from infra.local.wait import until
from tests.e2e.browser import Page

START_DEADLINE_S = 30.0
SETTLED_DEADLINE_S = 120.0
"""Longest wait for usage to be settled once trouble is over: what was returned comes back within a minute and a half at most."""

PLACES = ("ingested", "dropped", "rejected", "quarantined", "waiting")
"""The terms of the books that make up what was sent."""


@contextmanager
def console(relay: Local, port: int = 0, with_sandbox: bool = True) -> Iterator[str]:
    """A console over `relay` for the length of the block; yields its URL."""
    outputs = relay.outputs
    places = {"QUEUE_URL": outputs["QueueUrl"], "STORE_URL": outputs["StoreUrl"], "M3TER_ORG_ID": "sandbox-org"}
    places |= {"SANDBOX_URL": relay.sandbox.url} if with_sandbox else {}
    ready, errors = relay.logs / "console.json", relay.logs / "console.log"
    ready.unlink(missing_ok=True)
    argv = [require(COMMAND_BINARY), "console", "--json", "--port", str(port)]
    with running(argv, relay.environment() | places, ready, errors) as process:

        def url() -> str | None:
            if process.poll() is not None:
                raise RuntimeError(f"the console ended with {process.returncode}: see {errors}")
            line, newline, _ = ready.read_text().partition("\n")
            return str(json.loads(line)["url"]) if newline else None

        yield until(url, f"the console says where it listens, in {ready}", START_DEADLINE_S)


def said_on_standard_error(relay: Local) -> str:
    """All that consoles over `relay` complained about."""
    log: Path = relay.logs / "console.log"
    return log.read_text() if log.exists() else ""


def books(page: Page) -> Mapping[str, int]:
    """The books as the page shows them, all terms of one moment."""
    script = """Object.fromEntries([...document.querySelectorAll('[data-term]')].map((term) =>
        [term.dataset.term, Number(term.querySelector('dd').textContent.replaceAll(',', ''))]))"""
    found: dict[str, int] = page.run(script)
    return found


def figure(page: Page, selector: str) -> int:
    """A number that the page shows."""
    return int(page.text(selector).replace(",", "") or 0)


def until_live(page: Page) -> None:
    """Waits until the page shows a state."""
    until(lambda: page.attribute("body", "data-connection") == "live", "the page is live", START_DEADLINE_S)


def until_settled(page: Page, sent: int) -> Mapping[str, int]:
    """Waits until all of `sent` have a place, and m3ter's own count agrees; returns the books."""

    def settled() -> Mapping[str, int] | None:
        shown = books(page)
        agrees = "the books balance" in page.text("#verdict").lower() and "m3ter's own count agrees" in page.text("#verdict")
        return shown if agrees and shown["sent"] == sent and shown == books(page) else None

    found = until(settled, f"the books of {sent} balance", SETTLED_DEADLINE_S)
    assert found is not None and found["sent"] == sum(found[place] for place in PLACES) and found["waiting"] == 0
    return found
