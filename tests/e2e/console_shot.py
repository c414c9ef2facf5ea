"""Draws docs/console.png and docs/console-dark.png: the console after a storm, some mistakes and some lost answers.

Not a test: `make console-shot` runs it when the page has changed, and somebody looks at what came out.
"""

import sys
from pathlib import Path

from infra.local.processes import terminate_like_interrupt
from infra.local.settings import CATALOGUE, ROOT
from infra.local.setup import Local, local
from infra.local.steps import say
from infra.local.wait import until
from tests.e2e.browser import Page, chromium
from tests.e2e.console import books, console, figure, until_live, until_settled

WIDTH, HEIGHT = 1200, 1300
"""The window, in pixels."""
MARGIN = 14
BYTES_MAX = 200_000
DEADLINE_S = 60.0
DOCS = ROOT / "docs"


def main() -> int:
    """Draws both. Exit code 0, or 1 if one is too large to keep."""
    terminate_like_interrupt()
    with local("console-shot", catalogue=CATALOGUE) as relay, console(relay) as url, chromium(relay.logs) as page:
        page.show_as(width=WIDTH, height=HEIGHT)
        page.open(url)
        until_live(page)
        _show_something(page, relay)
        return max([_shot(page, scheme, path) for scheme, path in _pictures().items()])


def _pictures() -> dict[str, Path]:
    return {"light": DOCS / "console.png", "dark": DOCS / "console-dark.png"}


def _show_something(page: Page, relay: Local) -> None:
    """Does what a person would do with the page, until it has something to show in each part."""
    _send(page, "10000}", 10_000)
    _send(page, "mistakes", 11_000)
    until_settled(page, 11_000)
    relay.watch()
    until(lambda: figure(page, '[data-flow="rejected"]') > 0, "what m3ter said later is fetched", DEADLINE_S)
    for trouble in ("storm", "lost"):
        page.click(f'[data-trouble="{trouble}"]')
    _send(page, "10000}", 21_000)
    until(lambda: figure(page, '[data-flow="met"]') >= 12, "some submissions met trouble", DEADLINE_S)
    page.click('[data-trouble="storm"]')
    until(lambda: 0 < books(page)["waiting"] < 9_000, "some of it is through", DEADLINE_S)


def _send(page: Page, button: str, sent: int) -> None:
    page.click(f'[data-send*="{button}"]')
    until(lambda: books(page)["sent"] >= sent, f"{sent} are in the books", DEADLINE_S)


def _shot(page: Page, scheme: str, path: Path) -> int:
    # No focus ring, and nothing half-way between two states.
    page.run("document.activeElement.blur()")
    page.show_as(scheme, is_still=True, width=WIDTH, height=HEIGHT)
    # All but the list of the quarantine, which is long.
    bottom = page.run("document.querySelector('#spark').closest('section').getBoundingClientRect().bottom")
    page.screenshot(path, int(bottom) + MARGIN)
    size = path.stat().st_size
    say(f"{path.relative_to(ROOT)}: {size:,} bytes")
    if size <= BYTES_MAX:
        return 0
    say(f"error: expected at most {BYTES_MAX:,} bytes")
    return 1


if __name__ == "__main__":
    sys.exit(main())
