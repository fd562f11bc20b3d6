"""Makes docs/report.png: the report of a search that this script runs, 60 networks on the digits, with a trial chosen.

``python docs/make_report_picture.py [FOLDER]``; needs the program chromium, and takes about three minutes. The store
and the report are left in FOLDER, if one is named; what is there already is only drawn again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE / "report.png"
TRIALS, EPOCHS, WORKERS = 60, 4, 2
WIDTH, HEIGHT, COLOURS = 1500, 1240, 96
SPEC = {
    "task": "digits",
    "name": "digits that can be introspected",
    "controller": {"name": "nsga2", "params": {"population": 16}},
    "objectives": ["val_accuracy", "introspectability"],
    "seed": 5,
    "train_seed": 5,
}


def searched(folder: Path) -> Path:
    """Run the search, and write its report."""
    from xnas_ray.client import local_client

    store, report = folder / "results", folder / "report.html"
    if not store.exists():
        with local_client(store, workers=WORKERS) as client:
            client.submit(SPEC, trials=TRIALS, fidelity=EPOCHS, resources__workers=WORKERS).wait()
    from xnas_ray.client import Client

    return Client(store).report(["latest"], report)


def photographed(report: Path, target: Path) -> None:
    """The top of the report, its best network chosen, in few colours."""
    from PIL import Image

    sys.path.insert(0, str(HERE.parent / "experiments" / "performance"))
    from browser import NO_NETWORK, browser

    with browser(*NO_NETWORK) as page:
        page.resize(WIDTH, HEIGHT)
        page.open(report.as_uri())
        page.until("performance.getEntriesByName('first figure').length > 0")
        page.ask("document.querySelectorAll('#best button')[1].click()")
        page.until("!document.getElementById('trial').hidden")
        time.sleep(1.0)
        page.picture(target, WIDTH, HEIGHT)
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def main() -> int:
    """Run the search, take the picture."""
    if shutil.which("chromium") is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="xnas-picture") as folder:
        report = searched(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder))
        print(f"{report}: {report.stat().st_size / 1e6:.1f} MB")
        photographed(report, TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
