"""A headless Chromium for tests, driven over a pipe by the DevTools protocol: one browser, one tab per page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


class Browser:
    """A running browser; commands are answered in order, events are kept per tab."""

    def __init__(self, folder: Path) -> None:
        (theirs_in, self._to), (self._from, theirs_out) = os.pipe(), os.pipe()

        def as_three_and_four() -> None:
            first, second = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(first, 3)
            os.dup2(second, 4)

        command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
        with (folder / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, pass_fds=(3, 4), preexec_fn=as_three_and_four
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread, self._number = b"", 0
        self.events: dict[str, list[dict[str, Any]]] = {}

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send a command, of a tab if `session` is given, and wait for its answer; RuntimeError if it fails."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.setdefault(answer.get("sessionId", ""), []).append(answer)

    def wait(self, session: str, method: str) -> dict[str, Any]:
        """The first event of a tab with this name, which may have come already."""
        while True:
            for event in self.events.setdefault(session, []):
                if event["method"] == method:
                    return dict(event["params"])
            answer = self._message()
            self.events.setdefault(answer.get("sessionId", ""), []).append(answer)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._from, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._to)
        os.close(self._from)

    @contextmanager
    def tab(self, path: Path, *, width: int = 1280, dark: bool = False, at: str = "") -> Iterator[Tab]:
        """Open a file in a window of this width; `at` is the part of its address after #."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        try:
            tab = Tab(self, session)
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            tab.resize(width)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            tab.call("Emulation.setEmulatedMedia", features=[scheme])
            tab.open(path.as_uri() + (f"#{at}" if at else ""))
            yield tab
        finally:
            self.call("Target.closeTarget", targetId=target)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        return self._browser.call(method, self._session, **params)

    def open(self, url: str) -> None:
        """Go to an address, and wait until all is loaded."""
        self.call("Page.navigate", url=url)
        self._browser.wait(self._session, "Page.loadEventFired")
        self.ask("new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))")

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of its promise; RuntimeError for an exception in it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return answer["result"].get("value")

    def press(self, key: str, *, code: int = 0, text: str = "") -> None:
        """Press and release a key."""
        params = {"key": key, "code": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **params)
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    def picture(self, path: Path) -> None:
        """Save what the window shows, for a look."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def errors(self) -> list[str]:
        """Exceptions, console messages and log entries so far."""
        self.ask("0")
        found = [e for e in self._browser.events.get(self._session, []) if e["method"] in _ERRORS]
        return [json.dumps(event["params"])[:500] for event in found]

    def requests(self) -> set[str]:
        """Every address that was asked for so far, data in the page itself left out."""
        self.ask("0")
        sent = [e for e in self._browser.events.get(self._session, []) if e["method"] == "Network.requestWillBeSent"]
        urls = {str(event["params"]["request"]["url"]).partition("#")[0] for event in sent}
        return {url for url in urls if not url.startswith("data:")}


_ERRORS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
