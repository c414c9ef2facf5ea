"""The console as a person uses it: in a browser, over the deployed relay, by mouse and by keyboard."""

import json
from collections.abc import Iterator

import pytest

from infra.local.settings import CATALOGUE
from infra.local.setup import Local, local
from infra.local.wait import until
from tests.e2e import messages
from tests.e2e.browser import Page, PageError, chromium
from tests.e2e.console import books, console, figure, said_on_standard_error, until_live, until_settled

SEEN_DEADLINE_S = 60.0
"""Longest wait for something to be seen; a look is made each second."""

SENDS = ('[data-send*="1000}"]', '[data-send*="10000}"]', '[data-send*="again"]', '[data-send*="mistakes"]')
ONE_THOUSAND, TEN_THOUSAND, AGAIN, MISTAKES = SENDS
TROUBLES = ("storm", "lost", "outage", "tokens")


@pytest.fixture(scope="module")
def over() -> Iterator[Local]:
    """A relay of the console's own: its books hold all that passes."""
    with local("console", catalogue=CATALOGUE) as running:
        yield running


@pytest.fixture(scope="module")
def url(over: Local) -> Iterator[str]:
    """A console over it. It has nothing to complain about, whatever happens."""
    with console(over) as running:
        yield running
    assert said_on_standard_error(over) == ""


@pytest.fixture(scope="module")
def browser(over: Local) -> Iterator[Page]:
    """One browser for all tests here."""
    with chromium(over.logs) as page:
        yield page


@pytest.fixture
def page(over: Local, url: str, browser: Page) -> Iterator[Page]:
    """The page, live and with nothing on its way. Its console must be empty afterwards."""
    browser.show_as()
    _opened(browser, url)
    until(lambda: books(browser)["waiting"] == 0, "nothing is on its way", SEEN_DEADLINE_S)
    browser.complaints.clear()
    yield browser
    over.sandbox.clear_faults()
    browser.run("0")
    assert browser.complaints == []


def _opened(page: Page, url: str) -> None:
    page.open(url)
    until_live(page)


def _is_on(page: Page, trouble: str) -> bool:
    return page.attribute(f'[data-trouble="{trouble}"]', "aria-pressed") == "true"


def _met(page: Page) -> int:
    return figure(page, '[data-flow="met"]')


def _count(page: Page, name: str) -> int:
    script = f"[...document.querySelectorAll('#counts div')].find((row) => row.children[0].textContent === {json.dumps(name)})"
    return int(page.run(f"{script}?.children[1].textContent.replaceAll(',', '') ?? 0"))


def _reasons(page: Page) -> dict[tuple[str, str], list[str]]:
    """What the quarantine shows, by reason and by who gave it: count, what was expected, which one, how to mend it."""
    parts = "['.reason', '.from', '.count', '.detail', '.which', '.mend'].map((part) => item.querySelector(part).textContent)"
    told = page.run(f"[...document.querySelectorAll('#reasons li')].map((item) => {parts})")
    return {(reason, by): rest for reason, by, *rest in told}


def test_mistakes_are_told_by_reason_with_an_example_and_how_to_mend_it(over: Local, page: Page) -> None:
    before = books(page)
    page.click(MISTAKES)
    after = until_settled(page, before["sent"] + 1_000)
    for place in ("dropped", "rejected", "quarantined"):
        assert after[place] > before[place], place
    told = _reasons(page)
    assert {"UidMissing", "UidConflict", "TimestampInFuture", "Oversize", "MeterMissing"} <= {reason for reason, _ in told}
    assert all(detail.startswith("expected") and which and mend.endswith(".") for _, detail, which, mend in told.values())
    assert "account demo-" in told["UidMissing", "the relay"][2]
    assert sum(int(count) for count, *_ in told.values()) == after["quarantined"]

    # What m3ter said later is fetched by ingest-watch, and the books stay as they are. It reads the log of each copy that was
    # dropped, ten a second, so this test comes before those that make many.
    assert "to be fetched from m3ter" in page.text('[data-term="rejected"] .hint')
    over.watch()
    until(lambda: ("UndefinedMeter", "m3ter, later") in _reasons(page), "it is in the quarantine", SEEN_DEADLINE_S)
    count, _, which, mend = _reasons(page)["UndefinedMeter", "m3ter, later"]
    assert int(count) == after["rejected"] and "meter usage_relay_demo_unknown" in which and "Create the meter" in mend
    assert until_settled(page, after["sent"]) == after
    assert figure(page, '[data-flow="rejected"]') == after["rejected"]


def test_usage_that_a_button_sends_is_seen_until_it_is_counted(page: Page) -> None:
    for button, count, told in (
        (ONE_THOUSAND, 1_000, "1,000 measurements in 10"),
        (TEN_THOUSAND, 10_000, "10,000 measurements in 100"),
    ):
        before, batches = books(page), figure(page, '[data-flow="batches"]')
        page.click(button)
        until(lambda told=told: page.text("#said").startswith(told), "the page says what was sent", SEEN_DEADLINE_S)
        after = until_settled(page, before["sent"] + count)
        assert after == {**before, "sent": before["sent"] + count, "ingested": before["ingested"] + count}
        assert figure(page, '[data-flow="batches"]') > batches
        # What has its place leaves the queue right after.
        queue = ('[data-flow="visible"]', '[data-flow="in_flight"]')
        until(lambda queue=queue: [figure(page, each) for each in queue] == [0, 0], "the queue is empty", SEEN_DEADLINE_S)
    assert "1,000" in page.run("[...document.querySelectorAll('.batches .told')].map((told) => told.textContent)")
    assert page.attribute("#spark .line", "d")


def test_what_is_sent_again_counts_once(page: Page) -> None:
    sent = books(page)["sent"]
    page.click(ONE_THOUSAND)
    before = until_settled(page, sent + 1_000)
    page.click(AGAIN)
    after = until_settled(page, before["sent"] + 1_000)
    assert after == {**before, "sent": before["sent"] + 1_000, "dropped": before["dropped"] + 1_000}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_is_switched_on_and_off_and_nothing_is_lost(page: Page, trouble: str) -> None:
    before, met = books(page), _met(page)
    duplicates, tokens = _count(page, "copies dropped"), _count(page, "tokens given")
    page.click(f'[data-trouble="{trouble}"]')
    until(
        lambda: _is_on(page, trouble) and page.run("document.querySelector('.flow').hasAttribute('data-troubled')"),
        "it is on",
        SEEN_DEADLINE_S,
    )
    page.click(ONE_THOUSAND)
    if trouble == "tokens":
        # One is the console's own, which makes sure of its keys.
        until(lambda: _count(page, "tokens given") > tokens + 1, "the relay was given another token", SEEN_DEADLINE_S)
    else:
        until(lambda: _met(page) > met, "submissions met the trouble", SEEN_DEADLINE_S)
    if trouble == "outage":
        until(lambda: "nothing is lost, what waits comes back" in page.text("#verdict"), "the page says so", SEEN_DEADLINE_S)
        assert books(page)["waiting"] == 1_000
        assert page.text("#announcement") == page.text("#verdict") or "on their way" in page.text("#announcement")
    page.click(f'[data-trouble="{trouble}"]')
    until(lambda: not _is_on(page, trouble), "it is off", SEEN_DEADLINE_S)
    after = until_settled(page, before["sent"] + 1_000)
    assert after == {**before, "sent": before["sent"] + 1_000, "ingested": before["ingested"] + 1_000}
    if trouble == "lost":
        assert _count(page, "copies dropped") > duplicates


def test_the_page_is_used_by_keyboard_alone(page: Page) -> None:
    before = books(page)
    where = "(({id, className, dataset}) => dataset.send ?? dataset.trouble ?? (id || className))(document.activeElement)"
    visited = []
    for _ in range(9):
        page.press("Tab")
        visited.append(page.run(where))
        outline = page.run(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert outline == ["solid", "2px"], visited
    sends = page.run("[...document.querySelectorAll('[data-send]')].map((button) => button.dataset.send)")
    assert visited == ["skip", *sends, *TROUBLES]

    page.press(" ")
    until(lambda: _is_on(page, "tokens"), "Space switches on", SEEN_DEADLINE_S)
    page.press(" ")
    until(lambda: not _is_on(page, "tokens"), "and off", SEEN_DEADLINE_S)
    assert page.run(where) == "tokens", "the focus stays"
    for _ in range(7):
        page.press("Tab", shift=True)
    assert page.run(where) == sends[0]
    page.press("Enter")
    until_settled(page, before["sent"] + 1_000)
    assert page.run(where) == sends[0], "while everything else changes"
    page.press("Tab", shift=True)
    page.press("Enter")
    assert page.run(where) == "books", "past all that stands before"


CONTRAST = """(selectors) => {
  const channels = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const light = (colour) => channels(colour).map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
      .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    const own = getComputedStyle(element).backgroundColor;
    return own === 'rgba(0, 0, 0, 0)' ? ground(element.parentElement) : own;
  };
  return Object.fromEntries(selectors.map((selector) => {
    const element = document.querySelector(selector);
    const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
    return [selector, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_in_dark(page: Page, scheme: str) -> None:
    page.show_as(scheme)
    selectors = [
        "h1",
        "h1 span",
        ".term dt",
        ".term dd",
        ".hint",
        "#verdict",
        ".node p",
        ".node b",
        ".aside",
        ONE_THOUSAND,
        "#said",
    ]
    selectors += [".switch .name", ".switch .what", ".pill", ".heading p", "#lag", ".counts dt", ".counts dd"]
    contrast = page.run(f"({CONTRAST})({json.dumps(selectors)})")
    # WCAG 2.2, level AA: 4.5 for text of this size.
    assert {selector: ratio for selector, ratio in contrast.items() if ratio < 4.5} == {}
    ground = page.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (sum(ground) > 600) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page, scheme: str) -> None:
    page.show_as(scheme, width=360, height=740)
    assert page.run("document.documentElement.scrollWidth") == 360
    is_outside = "(each) => each.getBoundingClientRect().right > 360.5 && each.checkVisibility()"
    assert page.run(f"[...document.querySelectorAll('main *')].filter({is_outside}).length") == 0
    heights = page.run("[...document.querySelectorAll('button')].map((button) => button.getBoundingClientRect().height)")
    assert min(heights) >= 44, "large enough for a finger"


def test_nothing_moves_for_those_who_want_it_still(page: Page) -> None:
    moving = "document.getAnimations().length"
    until(lambda: page.run(moving) > 0, "something moves", SEEN_DEADLINE_S)
    page.show_as(is_still=True)
    assert page.run(moving) == 0


def test_what_strangers_write_is_shown_as_text(over: Local, page: Page) -> None:
    before = books(page)
    measurement = {"uid": "<img src=x onerror=alert(1)>", "account": "<b>acme</b>", "ts": "2026-01-01T00:00:00Z"}
    messages.send(over, [json.dumps(measurement)])
    until_settled(page, before["sent"] + 1)
    script = "[...document.querySelectorAll('#reasons .which')].map((which) => which.textContent)"
    assert any("uid <img src=x onerror=alert(1)> · account <b>acme</b>" in text for text in page.run(script))
    assert page.run("document.querySelectorAll('#reasons img, #reasons b').length") == 0


def test_no_other_page_can_press_the_buttons(over: Local, page: Page, url: str) -> None:
    before = books(page)
    page.open(f"{over.sandbox.url}/_sandbox/clock")
    options = "{method: 'POST', mode: 'no-cors', body: JSON.stringify({what: 'mistakes'})}"
    assert page.run(f"fetch('{url}/send', {options}).then(({{type}}) => type)") == "opaque", "the browser lets it ask"
    with pytest.raises(PageError, match="Failed to fetch"):
        page.run(f"fetch('{url}/').then((answer) => answer.text())")
    _opened(page, url)
    page.click(ONE_THOUSAND)
    assert until_settled(page, before["sent"] + 1_000)["quarantined"] == before["quarantined"]
    # Chromium says what it thinks of such pages.
    page.complaints.clear()


def test_without_a_sandbox_the_page_shows_the_same_and_says_why_it_has_no_buttons(over: Local, page: Page) -> None:
    before = books(page)
    with console(over, with_sandbox=False) as url:
        _opened(page, url)
        until(lambda: books(page)["sent"] > 0, "what the store holds is shown", SEEN_DEADLINE_S)
        shown = books(page)
        assert shown["quarantined"] == before["quarantined"]
        # Of rejections only those are known here that somebody has fetched.
        assert shown["ingested"] + shown["rejected"] == before["ingested"] + before["rejected"]
        assert page.text('[data-term="ingested"] dt') == "accepted"
        assert page.run("[...document.querySelectorAll('button')].filter((button) => button.checkVisibility()).length") == 0
        assert "--sandbox-url" in page.text("#no-sandbox") and page.run("document.querySelector('#no-sandbox').checkVisibility()")
        page.open("about:blank")


def test_a_lost_connection_is_said_and_made_again(over: Local, page: Page) -> None:
    with console(over) as url:
        _opened(page, url)
    until(lambda: "connection lost" in page.text("#connection"), "the page says so", SEEN_DEADLINE_S)
    assert "connection lost" in page.text("#announcement")
    page.click(ONE_THOUSAND)
    until(lambda: page.text("#said") == "The console does not answer.", "so does a button", SEEN_DEADLINE_S)
    with console(over, port=int(url.rsplit(":", 1)[1])):
        until_live(page)
        page.click(ONE_THOUSAND)
        until(lambda: "load it again" in page.text("#said"), "another console does not know this page's word", SEEN_DEADLINE_S)
    # Chromium itself complains about each attempt that failed.
    page.run("0")
    assert all("ERR_" in text or "403" in text or "Failed to load" in text for text in page.complaints), page.complaints
    page.complaints.clear()
