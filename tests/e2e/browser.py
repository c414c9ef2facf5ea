"""A headless Chromium with one page, driven over its DevTools protocol.

The protocol alone, and no driver between: it is what sets colour scheme, screen and reduced motion, presses keys as a keyboard
does, and tells every message of the page's console. One package is needed for it, a client for web sockets.

What is absent: waiting. Tests wait for what they expect to see, with `infra.local.wait.until`.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from infra.local.processes import environment, running
from infra.local.wait import until

CHROMIUM = "chromium"
START_DEADLINE_S = 60.0
CALL_DEADLINE_S = 30.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Most bytes of one answer: a screenshot of a long page is a few megabytes."""

KEYS = {"Tab": 9, "Enter": 13, " ": 32}
"""Keys by name, and the number by which Chromium knows each."""


class PageError(RuntimeError):
    """The page's script failed, or Chromium could not do what was asked."""


@dataclass
class Page:
    """The page."""

    socket: ClientConnection
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the page's console, exceptions, and what could not be loaded."""
    _number: int = 0

    def call(self, method: str, **parameters: Any) -> Any:
        """Asks Chromium for something, and returns its answer."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        self.socket.send(json.dumps(request | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(self.socket.recv(timeout=CALL_DEADLINE_S))
            if answer.get("id") == self._number:
                break
            self._listen(answer)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _listen(self, event: Mapping[str, Any]) -> None:
        told = event.get("params", {})
        method = event.get("method")
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def open(self, url: str) -> None:
        """Goes to `url`."""
        said = self.call("Page.navigate", url=url)
        if "errorText" in said:
            raise PageError(f"{url}: {said['errorText']}")

    def run(self, script: str) -> Any:
        """The value of `script`, an expression; a promise is waited for."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise PageError(json.dumps(said["exceptionDetails"]))
        return said["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element that `selector` finds; empty where there is none yet."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.textContent.trim() ?? ''"))

    def attribute(self, selector: str, name: str) -> str | None:
        """An attribute of the first element that `selector` finds."""
        found: str | None = self.run(f"document.querySelector({json.dumps(selector)})?.getAttribute({json.dumps(name)}) ?? null")
        return found

    def click(self, selector: str) -> None:
        """Clicks into the middle of what `selector` finds, with a mouse."""
        place = (
            "{ const e = document.querySelector(%s); e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
        )
        place += " [r.x + r.width / 2, r.y + r.height / 2] }"
        x, y = self.run(place % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, shift: bool = False) -> None:
        """Presses and lets go a key of `KEYS`."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def show_as(
        self, scheme: str = "light", is_still: bool = False, width: int = 1200, height: int = 900, scale: float = 1
    ) -> None:
        """Sets what a person sets on their machine: colour scheme, reduced motion, and the size of the window."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce" if is_still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """Writes the whole page as PNG, or its first `height` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or size["height"]), "scale": 1}
        said = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(said["data"]))


@contextmanager
def chromium(logs: Path) -> Iterator[Page]:
    """A Chromium of its own for the length of the block; its output goes into `logs`."""
    program = shutil.which(CHROMIUM)
    if program is None:
        raise FileNotFoundError("chromium is not on the PATH: `python3 infra/local/debian.py chromium=chromium` installs it")
    with tempfile.TemporaryDirectory(prefix="usage-relay-chromium-", ignore_cleanup_errors=True) as home:
        # As root, and in many containers, its sandbox cannot start. It opens pages of ours alone.
        argv = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        argv += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        argv += ["--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank"]
        env = environment() | {"HOME": home}
        with running(argv, env, logs / "chromium.log", logs / "chromium.log"):
            place = Path(home) / "DevToolsActivePort"
            told = until(lambda: place.exists() and place.read_text().split(), "chromium says where it listens", START_DEADLINE_S)
            port, path = told
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=MESSAGE_BYTES_MAX, proxy=None) as socket:
                page = Page(socket)
                targets = page.call("Target.getTargets")["targetInfos"]
                target = next(each["targetId"] for each in targets if each["type"] == "page")
                page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
                for domain in ("Page", "Runtime", "Log"):
                    page.call(f"{domain}.enable")
                yield page
