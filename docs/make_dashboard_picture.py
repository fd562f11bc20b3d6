"""Makes docs/dashboard.png: Ray's dashboard while a search trains on the digits, as a browser shows it.

``python docs/make_dashboard_picture.py [FOLDER]``; needs the program chromium, and takes about a minute and a half. The
whole pages are left in FOLDER, if one is named.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE / "dashboard.png"
LOOPBACK = "127.0.0.1"
COOKIE = "ray-authentication-token"
RENDER_MS = 15_000
"""Of the page's own clock, which runs as fast as its requests are answered."""

WIDTH = 1500
PAGES = {"jobs": ("/jobs", 520), "job": ("/jobs/01000000", 540), "actors": ("/actors", 870)}
"""Path and height in pixels."""

TRIALS, EPOCHS, WORKERS = 64, 8, 2


@contextlib.contextmanager
def entrance(dashboard: str, token: str) -> Iterator[str]:
    """An address that lets a browser into a dashboard: ``<address><page>``.

    People paste the token into a form, which a browser without hands cannot. Cookies are of a host, whatever the port,
    so a page on another port may set the dashboard's one and send the browser on. Only who knows the path is let in.

    Args:
        dashboard: ``host:port``, on this machine.
        token: of the service.
    """
    secret = f"/{secrets.token_urlsafe()}/"

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = secrets.compare_digest(self.path[: len(secret)].encode(), secret.encode())
            self.send_response(302 if known else 404)
            if known:
                self.send_header("Set-Cookie", f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict")
                self.send_header("Location", f"http://{dashboard}/{self.path[len(secret) :].replace('!', '#')}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((LOOPBACK, 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}{secret}!"
        finally:
            server.shutdown()
            thread.join()


def browse(address: str, *arguments: str, height: int = 1000) -> str:
    """Open a page in chromium without a window; returns what it prints."""
    with tempfile.TemporaryDirectory(prefix="xnas-chromium") as profile:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", f"--window-size={WIDTH},{height}"]
        command += [f"--virtual-time-budget={RENDER_MS}", *arguments, address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def rendered(address: str) -> str:
    """The page as HTML after its scripts have run."""
    return browse(address, "--dump-dom")


def photograph(address: str, path: Path, height: int) -> None:
    """The page as a PNG file."""
    browse(address, f"--screenshot={path}", height=height)


def main() -> int:
    """Run a search, take the pictures while it trains, put them together."""
    if shutil.which("chromium") is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    from xnas_ray.client import local_client
    from xnas_ray.service.bring_up import TOKEN

    addresses: list[str] = []
    with tempfile.TemporaryDirectory(prefix="xnas-picture") as folder:
        store = Path(folder) / "results"
        kept = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        with local_client(store, workers=WORKERS, dashboard_host=LOOPBACK, on_dashboard=addresses.append) as client:
            search = client.submit(
                HERE.parent / "experiments" / "digits" / "regularized_evolution.toml",
                trials=TRIALS,
                fidelity=EPOCHS,
                resources__workers=WORKERS,
            )
            while search.status()["counts"]["completed"] < 1:
                time.sleep(1.0)
            with entrance(addresses[0], (store / TOKEN).read_text()) as door:
                for name, (page, height) in PAGES.items():
                    photograph(door + page, kept / f"{name}.png", height)
            search.cancel()
        compose([kept / f"{name}.png" for name in PAGES], TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
    return 0


def compose(parts: list[Path], target: Path) -> None:
    """Put pictures below one another, without their empty lower ends, in few colours."""
    from PIL import Image

    pictures = [Image.open(path).convert("RGB") for path in parts]
    whole = Image.new("RGB", (WIDTH, sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    whole.quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
