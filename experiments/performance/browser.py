"""A browser without a window, driven through a pipe: what a page shows, says and asks for."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
PATIENCE_S = 60.0
NO_NETWORK = ("--proxy-server=http://127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND")
"""Every request would go to a port where nobody listens."""


class Page:
    """One page of the browser.

    Attributes:
        complaints: errors in the console, uncaught ones, and what the page's policy refused.
        requests: addresses that the page asked for, its own first.
    """

    def __init__(self, read: int, write: int) -> None:
        """Speak the DevTools protocol over two file descriptors."""
        self._read, self._write = read, write
        self._rest = b""
        self._ids = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """One command of the protocol; what it answers.

        Raises:
            RuntimeError: the browser refused it.
            TimeoutError: no answer within a minute.
        """
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._write, text) :]
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            found = self._next(deadline_s, method)
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def _next(self, deadline_s: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise TimeoutError(f"the browser does not answer {waiting_for}")
            got = os.read(self._read, 1 << 20)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        text, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(text)
        self._note(found.get("method"), found.get("params", {}))
        return found

    def _note(self, event: str | None, what: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(what["exceptionDetails"])[:500])
        elif event == "Runtime.consoleAPICalled" and what["type"] in ("error", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in what["args"])[:500])
        elif event == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.complaints.append(what["entry"]["text"][:500])
        elif event == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"][:200])

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:500])
        return found["result"].get("value")

    def until(self, expression: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is true; its value.

        Raises:
            TimeoutError: it is not in time; the message has the page's complaints.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(RuntimeError):  # the page is on its way to another one
                value = self.ask(expression)
                if value not in (None, False, 0, ""):  # an element is an empty mapping here
                    return value
            time.sleep(0.05)
        raise TimeoutError(f"{expression} is not true after {timeout_s:g} s; complaints: {self.complaints}")

    def pointer(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Move, press or release the pointer (``mouseMoved``, ``mousePressed``, ``mouseReleased``)."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Move there and click."""
        self.pointer("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.pointer(kind, x, y, button="left", clickCount=1)

    def key(self, name: str) -> None:
        """Press a key such as ``Escape``."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name)

    def picture(self, path: Path, width: int, height: int, scale: float = 1.0) -> None:
        """Write what the window shows as a PNG file."""
        self.resize(width, height, scale)
        time.sleep(0.8)  # plots follow their frame's size
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Give the window another size, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)


@contextlib.contextmanager
def browser(*flags: str, size: tuple[int, int] = (1280, 1000)) -> Iterator[Page]:
    """A page of a browser that ends with the block; ``NO_NETWORK`` as flags cuts it off."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="xnas-browser", ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"]
        command += ["--enable-unsafe-swiftshader", f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        shell = f'exec "$@" 3<&{to_read} 4>&{from_write}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "browser", *command, *flags],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(from_read, to_write)
        finally:
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                os.write(to_write, b'{"id":0,"method":"Browser.close"}\0')
            os.close(to_write)
            os.close(from_read)
            _end(process.wait, process.kill)


def _end(wait: Callable[..., Any], kill: Callable[[], None]) -> None:
    try:
        wait(timeout=15)
    except subprocess.TimeoutExpired:
        kill()
        wait()
