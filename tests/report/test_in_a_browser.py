"""The file as people see it: in Chromium, without a network, pointed at and clicked on."""

from __future__ import annotations

import datetime
import gzip
import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xnas_ray.service.archive import stored_card
from xnas_ray.service.report_data import report_data
from xnas_ray.service.resolve import open_search
from xnas_ray.store import Layout, StoreWriter, list_searches, load_explanations, load_tree_samples, load_trials
from xnas_ray.store.replay import replay
from xnas_ray.store.tree_samples import TREE_SAMPLES_FILE, write_tree_samples

from .joint_search import SPACE, planted

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FOLDER = EXPERIMENTS / "performance"
FASHION_MNIST = EXPERIMENTS / "reproduce" / "xnas" / "fashion_mnist"
THREE_OBJECTIVES = EXPERIMENTS / "reproduce" / "nbdt" / "fashion_mnist"
pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="the program chromium is not installed")
MAX_BYTES = 10_000_000
LONG = "<img src=x onerror=alert(1)> and then many more characters"


def script(name: str) -> ModuleType:
    """A module of experiments/performance."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A browser without a network."""
    browser = script("browser")
    with browser.browser(*browser.NO_NETWORK) as one:
        yield one


@pytest.fixture(scope="module")
def evolved(played_search, archive, two_motifs, tmp_path_factory) -> tuple[Path, str]:
    """A search of 60 trials as NSGA-II proposes them, with explanations of every kind, and its store."""
    root, search_id = (
        tmp_path_factory.mktemp("evolved") / "store",
        "01HF7YAT000123456789EVOLVE".replace("L", "K").replace("O", "0"),
    )
    controller = {"name": "nsga2", "params": {"population": 12}}
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, search_id, {"controller": controller, "budget": {"trials": 60}})
        search.trials(60, failing={7: "</script><script>alert(1)</script>"})
        layers = {"layer": ["stem", "cell", "head"], "score": [0.2, 0.5, np.nan], "share": 1 / 3}
        classes = {"first": ["a", "a", LONG], "second": [LONG, LONG + "2", LONG + "2"]}
        pairs = {**classes, "distance": [0.1, 0.7, 0.9], "weight": 1.0}
        for trial in (1, 2, search.best.trial):
            for kind, table in (("introspectability_layers", layers), ("introspectability_pairs", pairs)):
                writer.append_explanation(kind, search_id, pd.DataFrame({**table, "trial": trial}))
        writer.append_explanation("motifs", search_id, two_motifs)
        writer.append_explanation("surrogate", search_id, pd.DataFrame({"metric": ["<i>m</i>"], "spearman": [0.5]}))
        search.state("finished", "budget.trials is reached")
    return root, search_id


def opened(page: Any, path: Path) -> None:
    """Open a file and wait until its first figure stands."""
    page.complaints.clear()
    page.requests.clear()
    page.open(path.as_uri())
    page.until("performance.getEntriesByName('first figure').length > 0")


def point(page: Any, section: str, row: int) -> tuple[float, float]:
    """Where on the screen the trial of a row is in a plot of a section."""
    return tuple(
        page.ask(f"""(() => {{
        const plot = document.querySelector("#{section} .plot");
        plot.scrollIntoView({{ block: "center" }});
        const trace = plot.data.find((t) => t.customdata && t.customdata.includes({row}));
        const i = trace.customdata.indexOf({row}), box = plot.getBoundingClientRect();
        const {{ xaxis, yaxis }} = plot._fullLayout;
        return [box.left + xaxis._offset + xaxis.l2p(trace.x[i]), box.top + yaxis._offset + yaxis.l2p(trace.y[i])];
    }})()""")
    )


def quiet(page: Any, path: Path) -> None:
    """No error, and no request but that for the file itself."""
    assert page.complaints == []
    assert [r for r in page.requests if not r.startswith(("data:", "blob:"))] == [path.as_uri()]


def drawn_everywhere(page: Any) -> int:
    """Scroll from figure to figure until all are drawn; how many there are."""
    count = int(page.ask("document.querySelectorAll('main .plot').length"))
    for i in range(count):
        page.ask(f"document.querySelectorAll('main .plot')[{i}].scrollIntoView()")
        page.until(f"document.querySelectorAll('main .plot')[{i}].dataset.drawn")
    return count


def zoom(page: Any, section: str) -> None:
    """Drag a box over the middle of a plot."""
    ask = f"""(() => {{ const plot = document.querySelector("#{section} .plot"), box = plot.getBoundingClientRect();
        const {{ xaxis, yaxis }} = plot._fullLayout;
        const corner = [box.left + xaxis._offset, box.top + yaxis._offset];
        return [...corner, xaxis._length, yaxis._length, yaxis.range[1]]; }})()"""
    left, top, width, height, high = page.ask(ask)
    page.pointer("mouseMoved", left + 0.3 * width, top + 0.3 * height)
    page.pointer("mousePressed", left + 0.3 * width, top + 0.3 * height, button="left", clickCount=1)
    page.pointer("mouseMoved", left + 0.5 * width, top + 0.5 * height, button="left")
    page.pointer("mouseMoved", left + 0.7 * width, top + 0.7 * height, button="left")
    page.pointer("mouseReleased", left + 0.7 * width, top + 0.7 * height, button="left", clickCount=1)
    page.until(f"document.querySelector('#{section} .plot')._fullLayout.yaxis.range[1] < {high}")


def test_point_and_click(page, evolved, tmp_path, xnas):
    root, search_id = evolved
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    assert path.stat().st_size < MAX_BYTES
    opened(page, path)
    sections = page.ask("[...document.querySelectorAll('main section')].map((s) => s.id)")
    assert sections == [
        *("searches", "front", "best", "progress", "volume", "joint", "coordinates", "layers", "pairs", "motifs"),
        *("lineage", "workers", "failures", "tables", "settings"),
    ]
    trials = page.ask("[...document.querySelectorAll('#best button.card strong')].map((e) => e.textContent)")
    best = int(trials[0].removeprefix("trial "))
    row = page.ask("document.querySelector('#front .plot').data.flatMap((t) => t.customdata || []).length")
    assert row == 59, "every completed trial is a point"

    x, y = point(page, "front", load_trials(root, search_id)["trial"].tolist().index(best))
    page.pointer("mouseMoved", x - 3, y)
    page.pointer("mouseMoved", x, y)
    page.until("!document.getElementById('hover').hidden")
    assert page.ask("document.querySelector('#hover strong').textContent") == f"trial {best}"
    assert page.ask("document.querySelectorAll('#hover svg.cell circle').length") >= 2

    page.click(x, y)
    page.until("!document.getElementById('trial').hidden")
    panel = page.ask("document.getElementById('trial').innerText")
    assert f"trial {best}" in panel and "made by" in panel and "w-1 on n-1" in panel and "val_accuracy" in panel
    assert page.ask("document.querySelectorAll('#trial svg.cell circle').length") >= 2
    assert "Classes that activate it most alike" in panel and f"a – {LONG}: 0.1" in panel and "its 2 layers" in panel
    assert page.ask("document.querySelectorAll('#motifs .card svg.cell').length") == 2
    assert "<i>m</i>" in page.ask("document.querySelector('#tables').innerText")
    parent = page.ask("[...document.querySelectorAll('#trial dd button')].map((b) => b.dataset.trial)[0] ?? null")
    if parent is not None:
        page.ask("document.querySelector('#trial dd button').click()")
        page.until(f"document.querySelector('#trial h2').textContent === 'trial {parent}'")
        page.ask("history.back()")
        page.until(f"document.querySelector('#trial h2').textContent === 'trial {best}'")
    page.key("Escape")
    page.until("document.getElementById('trial').hidden")
    page.ask("document.querySelector('#best button').focus()")
    page.ask("document.activeElement.click()")
    page.until("document.activeElement.id === 'close'")
    row = load_trials(root, search_id)["trial"].tolist().index(best)
    page.key("ArrowLeft")
    page.until(f"document.querySelector('#trial h2').textContent !== 'trial {best}'")
    assert row > 0 and page.ask("document.activeElement.id") == "close"
    page.key("Escape")
    page.until("document.getElementById('trial').hidden && document.activeElement.matches('#best button')")

    page.ask("document.querySelector('#failures button').click()")
    page.until("document.querySelector('#trial h2').textContent === 'trial 7'")
    assert "</script><script>alert(1)</script>" in page.ask("document.getElementById('trial').innerText")
    assert drawn_everywhere(page) == 11
    ticks = page.ask("[...document.querySelectorAll('#pairs .xtick text')].map((t) => t.textContent)")
    assert ticks == ["a", "<img src=x onerror=aler…", "<img src=x onerror=aler… (2)"]
    for text in ("Share chart", "plotly.com"):
        assert text not in page.ask("[...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title).join()")
    quiet(page, path)


def test_axes_and_zoom_are_kept(page, evolved, tmp_path, xnas):
    root, search_id = evolved
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    opened(page, path)
    page.ask("document.querySelector('#progress button:nth-of-type(2)').click()")
    page.until("document.querySelector('#progress button:nth-of-type(2)').getAttribute('aria-pressed') === 'true'")
    page.ask("document.querySelector('#progress .plot').scrollIntoView()")
    page.until("document.querySelector('#progress .plot').dataset.drawn")
    assert page.ask("document.querySelector('#progress .plot').layout.xaxis.title.text") == "CPU-hours"
    zoom(page, "progress")
    kept = page.ask("document.querySelector('#progress .plot')._fullLayout.yaxis.range")
    page.ask("document.querySelector('#progress button:nth-of-type(1)').click()")
    page.until("document.querySelector('#progress .plot').layout.xaxis.title.text === 'trials that ended'")
    assert page.ask("document.querySelector('#progress .plot')._fullLayout.yaxis.range") == kept
    page.ask("""(() => { const list = document.querySelector('#front select'); list.value = 'flops';
        list.dispatchEvent(new Event('change')); })()""")
    page.until("document.querySelector('#front .plot').layout.xaxis.title.text === 'flops'")
    quiet(page, path)


def test_hostile_texts_and_searches_without_trials(page, archive, tmp_path, xnas):
    path = tmp_path / "report.html"
    ids = (archive.finished, archive.unfinished, archive.cancelled)
    assert xnas("report", *ids, "--root", archive.root, "--out", path).code == 0
    opened(page, path)
    drawn_everywhere(page)
    text = page.ask("document.body.innerText")
    assert "[bold]evil[/bold]" in text and "\x1b" not in text and "\u202e" not in text and "\ufffd" in text
    assert page.ask("document.querySelectorAll('#searches tr').length") == 4
    colours = page.ask("[...document.querySelectorAll('#searches .swatch')].map((s) => s.style.background)")
    assert len(set(colours)) == 3
    quiet(page, path)


def test_one_objective_has_no_front_and_one_search_alone_no_trial(page, archive, tmp_path, xnas):
    path = tmp_path / "report.html"
    assert xnas("report", archive.cancelled, "--root", archive.root, "--out", path).code == 0
    page.complaints.clear()
    page.requests.clear()
    page.open(path.as_uri())
    page.until("document.documentElement.dataset.ready")
    assert page.ask("[...document.querySelectorAll('main section')].map((s) => s.id)") == ["searches", "settings"]
    quiet(page, path)


@pytest.fixture(scope="module")
def differentiable(played_search, archive, tmp_path_factory) -> tuple[Path, str]:
    """A search with what the job of two supernets leaves in the store, read off by methods with names of their own."""
    root, search_id = tmp_path_factory.mktemp("supernets") / "store", "01HF7YAT000123456789SNPNET"
    methods, names, p = ("magnitude", LONG), ("none", "skip"), {"none": 0.3, "skip": 0.7}
    epochs = {"train_loss": 1.0, "train_accuracy": 50.0, "entropy/1<-0": 0.6, "entropy/2<-0": 0.6} | {
        f"p/{edge}/{name}": value for edge in ("1<-0", "2<-0") for name, value in p.items()
    }
    curves = [(n, epoch, *one) for n in range(2) for epoch in (1, 2, 3) for one in epochs.items()]
    strengths = [
        (n, method, edge, name, -1.0 if name == "none" else 2.0, name == "skip")
        for n in range(2)
        for method in methods
        for edge in ("1<-0", "2<-0")
        for name in names
    ]
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, search_id, {"objectives": ["val_accuracy"]})
        search.trials(3)
        found = [(n, method, f"|{n}|", n, 60.0 + n) for n in range(2) for method in methods]
        tables = {
            "supernet": (curves, "supernet epoch name value"),
            "strengths": (strengths, "supernet method decision option strength chosen"),
            "derived": (found, "supernet method architecture evaluated_by val_accuracy"),
            "derived_methods": (
                [(method, 2, 60.5, 0.5) for method in methods],
                "method supernets val_accuracy_mean val_accuracy_std",
            ),
        }
        for kind, (rows, columns) in tables.items():
            writer.append_explanation(kind, search_id, pd.DataFrame(rows, columns=columns.split()))
        search.state("finished", "budget.trials is reached")
    return root, search_id


def test_supernets(page, differentiable, tmp_path, xnas):
    root, search_id = differentiable
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    opened(page, path)
    assert drawn_everywhere(page) >= 4
    plots = "[...document.querySelectorAll('#supernets .plot')]"
    kinds = page.ask(f"{plots}.map((p) => [...new Set(p.data.map((t) => t.type))].join())")
    assert kinds == ["scatter", "heatmap", "heatmap,scatter", "scatter"]
    assert page.ask(f"{plots}[0].data.filter((t) => t.name === 'train_loss').map((t) => t.y.length)") == [3, 3]
    assert page.ask(f"{plots}[1].data[0].z") == [[0.3] * 3, [0.7] * 3, [None] * 3, [0.3] * 3, [0.7] * 3]
    assert page.ask("[...document.querySelectorAll('#supernets select')].map((l) => l.options.length)") == [2, 4]
    words = page.ask("[...document.querySelectorAll('#supernets select')][1].options[1].textContent")
    assert words == f"{LONG}, supernet 0"
    assert page.ask(f"[{plots}[2].data[0].zmin, {plots}[2].data[1].x]") == [-2, [1, 1]]
    page.ask("""(() => { const list = document.querySelectorAll('#supernets select')[0]; list.value = '1';
        list.dispatchEvent(new Event('change')); })()""")
    page.until("document.querySelectorAll('#supernets select')[0].value === '1'")
    text = page.ask("document.getElementById('supernets').innerText")
    assert "60.5 ± 0.5" in text and LONG in text
    page.ask("document.querySelector('#supernets button.link').click()")
    page.until("document.querySelector('#trial h2').textContent === 'trial 0'")
    quiet(page, path)


CLASSES = ("cat", "dog", LONG, "\u202egnp", "c5", "c6", "c7")


@pytest.fixture(scope="module")
def treed(played_search, archive, grown_tree, tmp_path_factory) -> tuple[Path, str]:
    """A search with three objectives whose trials have trees; that of the best has a hundred classes."""
    root, search_id = tmp_path_factory.mktemp("trees") / "store", "01HF7YAT00012345678900TREE"
    spec = {"objectives": ["val_accuracy", "params", "flops"], "budget": {"trials": 20}}
    with StoreWriter.open(root) as writer:
        search = played_search(writer, archive.task, search_id, spec)
        search.trials(20)
        for trial in range(20):
            many = trial == search.best.trial
            grown = grown_tree(100 if many else 7, trial, names=None if many else CLASSES)
            writer.append_explanation("decision_tree", search_id, grown.table.assign(trial=trial))
            path = writer.layout.artifacts(search_id, trial, (1, 0)) / TREE_SAMPLES_FILE
            write_tree_samples(path, grown.samples)
        search.state("finished", "budget.trials is reached")
    return root, search_id


def drawn_tree(page: Any, trial: int) -> None:
    """Choose the tree of a trial."""
    page.ask(f"""(() => {{ const list = document.querySelector('#trees select'); list.value = '{trial}';
        list.dispatchEvent(new Event('change')); }})()""")
    page.until(f"document.querySelector('#trees svg.tree').getAttribute('aria-label').endsWith(' {trial}')")


def nodes(page: Any) -> int:
    """How many nodes can be seen."""
    return int(page.ask("document.querySelectorAll('#trees svg.tree [data-node]').length"))


def press(page: Any, words: str) -> None:
    """Press the button of the page with these words."""
    page.ask(f"[...document.querySelectorAll('button')].find((b) => b.textContent === '{words}').click()")


def test_nodes_of_trees_open_and_close(page, treed, tmp_path, xnas):
    root, search_id = treed
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0 and path.stat().st_size < MAX_BYTES
    opened(page, path)
    table = load_explanations(root, "decision_tree", search_id)
    trials = [int(t) for t in page.ask("[...document.querySelector('#trees select').options].map((o) => o.value)")]
    best = int(page.ask("document.querySelector('#best button.card strong').textContent").removeprefix("trial "))
    assert len(trials) == 16 and trials[0] == best
    assert "16 of 20 trees" in page.ask("document.getElementById('trees').innerText")
    assert 10 < nodes(page) < 90, "a hundred classes are closed below some level"
    press(page, "open all")
    assert nodes(page) == (table["trial"] == best).sum()
    page.ask("document.querySelector('#trees .grown .wide').scrollLeft = 30")
    page.ask("document.querySelector('#trees .samples button').click()")
    assert page.ask("document.querySelector('#trees .grown .wide').scrollLeft") == 30, "nobody is moved elsewhere"
    press(page, "as at first")
    assert nodes(page) < 90

    small = next(t for t in trials if t != best)
    own = table[table["trial"] == small].sort_values("node").reset_index(drop=True)
    drawn_tree(page, small)
    assert nodes(page) == len(own) and page.ask("document.querySelectorAll('#trees svg.tree image').length") == 7
    drawn_everywhere(page)  # what stands above moves no more
    inner = int(own.loc[(own["parent"] == 0) & (own["classes"] > 1), "node"].iloc[0])
    page.ask("document.querySelector('#trees svg.tree').scrollIntoView({ block: 'center' })")
    x, y = page.ask(f"""(() => {{ const box = document.querySelector('#tree-0-{inner} circle').getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2]; }})()""")
    page.pointer("mouseMoved", x, y)
    page.until("!document.getElementById('hover').hidden")
    assert f"{own['visits'][inner]} (" in page.ask("document.getElementById('hover').innerText")
    assert page.ask("document.querySelectorAll('#hover img').length") == 2
    page.click(x, y)
    focused = f"document.activeElement.id === 'tree-0-{inner}' && document.activeElement"
    page.until(f"{focused}.getAttribute('aria-expanded') === 'false'")
    closed = nodes(page)
    assert (
        closed < len(own) and page.ask("document.querySelector('#trees .about h3').textContent") == own["name"][inner]
    )
    for key, expected in (("Enter", len(own)), ("ArrowLeft", closed), ("ArrowRight", len(own))):
        page.key(key)
        page.until(f"{focused}.getAttribute('aria-expanded') === '{str(expected > closed).lower()}'")
        assert nodes(page) == expected
    for key, expected in (("ArrowRight", inner + 1), ("ArrowLeft", inner), ("Home", 0), ("ArrowDown", 1)):
        page.key(key)
        page.until(f"document.activeElement.id === 'tree-0-{expected}'")
    page.ask("document.querySelector('#best button.card').click()")
    page.until("!document.getElementById('trial').hidden")
    press(page, "what it decides first, and what next")
    page.until(f"document.querySelector('#trees svg.tree').getAttribute('aria-label').endsWith(' {best}')")
    page.until("document.getElementById('trial').hidden && document.activeElement.id === 'tree-0-0'")
    quiet(page, path)


def test_samples_are_followed_through_trees(page, treed, tmp_path, xnas):
    store, search_id = treed
    root, path = tmp_path / "store", tmp_path / "report.html"
    shutil.copytree(store, root)
    [found] = json.loads(gzip.decompress(report_data(root, [search_id])))["searches"]
    _, damaged, gone, whole = (one["trial"] for one in found["trees"]["trees"][:4])
    layout = Layout(root)
    layout.artifacts(search_id, damaged, (1, 0)).joinpath(TREE_SAMPLES_FILE).write_bytes(b"PK\x03\x04")
    layout.artifacts(search_id, gone, (1, 0)).joinpath(TREE_SAMPLES_FILE).unlink()
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    opened(page, path)
    text = "document.getElementById('trees').innerText"
    for trial, words in ((damaged, "is damaged"), (gone, "keep_weights")):
        drawn_tree(page, trial)
        assert words in page.ask(text) and nodes(page) > 1

    drawn_tree(page, whole)
    kept = load_tree_samples(root, search_id, whole)
    table = load_explanations(root, "decision_tree", search_id)
    own = table[table["trial"] == whole].sort_values("node").reset_index(drop=True)
    assert page.ask("document.querySelectorAll('#trees > div > .samples img').length") == 10
    page.ask("document.querySelector('#trees > div > .samples button').click()")
    page.until("document.querySelectorAll('#trees path.way').length > 0")
    hard = own.index[own["name"] == kept.classes[kept.hard[0]]][0]
    assert page.ask("document.querySelectorAll('#trees path.way').length") == own["depth"][hard]
    shares = page.ask("""Object.fromEntries([...document.querySelectorAll('#trees [data-node]')].map((g) =>
        [g.dataset.node, (g.querySelector('.share') || {}).textContent]))""")
    for node, parent in enumerate(own["parent"]):
        if parent == 0:
            assert float(shares[str(node)].split()[0]) == pytest.approx(100 * kept.reach[0, node], abs=0.06)
    marks = page.ask(f"document.querySelector('#tree-0-{hard} .mark').textContent")
    assert "hard" in marks and ("label" in marks) == (kept.target[0] == kept.hard[0])
    about = page.ask("document.querySelector('#trees .about').innerText")
    assert f"Sample {kept.sample[0]}" in about and "path entropy" in about
    assert "<img src=x onerror" in page.ask(text) and "\u202e" not in page.ask(text)
    wide = page.ask("Number(document.querySelector('#trees path.way').getAttribute('stroke-width'))")
    press(page, "back to all samples")
    page.until("document.querySelectorAll('#trees path.way').length === 0")
    assert wide != page.ask("Number(document.querySelector('#trees path.edge').getAttribute('stroke-width'))")
    quiet(page, path)


DEEP = "document.querySelectorAll('#front .plot')[1]"
SPACE_POINT = f"""(() => {{ const plot = {DEEP}, trace = plot.data[1], scene = plot._fullLayout.scene._scene;
    const {{ projection, view, model }} = scene.glplot.cameraParams, scale = scene.dataScale;
    const times = (m, v) => [0, 1, 2, 3].map((r) => m[r] * v[0] + m[4 + r] * v[1] + m[8 + r] * v[2] + m[12 + r] * v[3]);
    const point = [trace.x[0] * scale[0], trace.y[0] * scale[1], trace.z[0] * scale[2], 1];
    const [x, y, , w] = times(projection, times(view, times(model, point)));
    const box = plot.querySelector('canvas').getBoundingClientRect();
    return [box.left + (0.5 + (0.5 * x) / w) * box.width, box.top + (0.5 - (0.5 * y) / w) * box.height]; }})()"""


def test_three_objectives_are_a_front_in_space(page, treed, tmp_path, xnas):
    root, search_id = treed
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    opened(page, path)
    page.ask(f"{DEEP}.scrollIntoView({{ block: 'center' }})")
    page.until(f"{DEEP}.dataset.drawn")
    data = page.ask(f"{DEEP}.data.map((t) => [t.type, t.customdata])")
    assert [kind for kind, _ in data] == ["scatter3d"] * 2 and sum(len(rows) for _, rows in data) == 20
    [found] = json.loads(gzip.decompress(report_data(root, [search_id])))["searches"]
    assert {found["trials"]["trial"][row] for row in data[1][1]} == set(found["front"])
    titles = f"['xaxis', 'yaxis', 'zaxis'].map((a) => {DEEP}.layout.scene[a].title.text)"
    assert page.ask(titles) == ["params", "val_accuracy", "flops"]
    page.until(f"{DEEP}._fullLayout.scene._scene.glplot.cameraParams && {DEEP}.querySelector('canvas')")
    x, y = page.ask(SPACE_POINT)
    page.pointer("mouseMoved", x - 3, y)
    page.pointer("mouseMoved", x, y)
    page.until("!document.getElementById('hover').hidden")
    page.pointer("mousePressed", x, y, button="left", clickCount=1)  # it is asked for in the next frame
    page.until("!document.getElementById('trial').hidden")
    page.pointer("mouseReleased", x, y, button="left", clickCount=1)
    assert int(page.ask("document.querySelector('#trial h2').textContent").removeprefix("trial ")) in found["front"]
    page.ask("""(() => { const list = document.querySelectorAll('#front select')[2]; list.value = 'duration_s';
        list.dispatchEvent(new Event('change')); })()""")
    page.until(f"{titles}[2] === 'duration_s'")
    quiet(page, path)


def test_without_webgl_the_front_is_flat(page, treed, tmp_path, xnas):
    root, search_id = treed
    path = tmp_path / "report.html"
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    none = """const made = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.includes("webgl") ? null : made.call(this, kind, ...rest); };"""
    script = page.send("Page.addScriptToEvaluateOnNewDocument", source=none)["identifier"]
    try:
        opened(page, path)
    finally:
        page.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert "no WebGL" in page.ask("document.getElementById('front').innerText")
    assert page.ask("document.querySelectorAll('#front .plot').length") == 1
    drawn_everywhere(page)
    quiet(page, path)


def test_nars_rounds_and_predictions(page, designable, tmp_path, xnas):
    """A played search by NARS, with what its controller says of it."""
    root, path = tmp_path / "store", tmp_path / "report.html"
    shutil.copytree(designable, root)
    search_id = list_searches(root)["search_id"][0]
    outcomes = replay(root, search_id).outcomes
    controller = open_search(root, stored_card(root, search_id)).controller()
    for outcome in outcomes:
        controller.tell(outcome)
    with StoreWriter.open(root) as writer:
        for kind, table in controller.explain().items():
            writer.append_explanation(kind, search_id, table)
    assert xnas("report", search_id, "--root", root, "--out", path).code == 0
    opened(page, path)
    drawn_everywhere(page)
    plots = "[...document.querySelectorAll('#nars .plot')]"
    predicted = [o.trial for o in outcomes if "predicted" in o.candidate.origin]
    assert page.ask(f"{plots}[0].data.slice(1).reduce((n, t) => n + t.x.length, 0)") == len(predicted) > 20
    assert page.ask(f"{plots}[1].data[2].x") == [controller.stopping.epoch]
    text = page.ask("document.getElementById('nars').innerText")
    assert "space_filling" in text and "evolved" in text and "Rank correlation of all" in text
    page.ask("document.querySelector('#nars button.link').click()")
    page.until("document.querySelector('#trial h2').textContent.startsWith('trial ')")
    quiet(page, path)


@pytest.mark.parametrize("number", [0, 1], ids=["two objectives", "accuracy alone"])
def test_the_searches_on_fashion_mnist(page, tmp_path, xnas, number):
    """Networks that were trained on Fashion-MNIST, searched for with both objectives, and for accuracy alone."""
    search_id, path = list_searches(FASHION_MNIST)["search_id"][number], tmp_path / "report.html"
    assert xnas("report", search_id, "--out", path, "--root", FASHION_MNIST).code == 0
    assert len(load_trials(FASHION_MNIST, search_id)) >= 60 and path.stat().st_size < MAX_BYTES
    opened(page, path)
    sections = set(page.ask("[...document.querySelectorAll('main section')].map((s) => s.id)"))
    assert {"front", "volume", "coordinates", "layers", "pairs", "workers"} <= sections
    drawn_everywhere(page)
    row = page.ask("document.querySelector('#front .plot').data[1].customdata[0]")
    x, y = point(page, "front", row)
    page.pointer("mouseMoved", x - 3, y)
    page.pointer("mouseMoved", x, y)
    page.until("document.querySelectorAll('#hover svg.cell circle').length > 1")
    page.click(x, y)
    page.until("document.getElementById('trial').innerText.includes('Classes that activate it most alike')")
    quiet(page, path)


def test_three_objectives_on_fashion_mnist(page, tmp_path, xnas):
    """Networks that were trained on Fashion-MNIST, searched for with three objectives: every explanation of them."""
    searches = list_searches(THREE_OBJECTIVES)
    [search_id] = searches.loc[searches["controller"] == "nsga2", "search_id"]
    path, alone = tmp_path / "report.html", tmp_path / "joint.html"
    assert xnas("report", search_id, "--out", path, "--root", THREE_OBJECTIVES).code == 0
    assert len(load_trials(THREE_OBJECTIVES, search_id)) >= 40 and path.stat().st_size < MAX_BYTES
    opened(page, path)
    drawn_everywhere(page)
    assert page.ask(f"{DEEP}.data.map((t) => t.type)") == ["scatter3d"] * 2
    [found] = json.loads(gzip.decompress(report_data(THREE_OBJECTIVES, [search_id])))["searches"]
    rows = "[...document.querySelectorAll('#joint .findings tr')].slice(1)"
    verdicts = page.ask(f"{rows}.map((r) => r.innerText.match(/disagree|agree|undecided/)[0])")
    assert verdicts == [finding["verdict"] for finding in found["joint"]["findings"]]
    assert {"agree", "disagree", "undecided"} == set(verdicts)
    text = page.ask("document.getElementById('joint').innerText")
    assert all(method in text for method in ("magnitude", "influence", "influential_magnitude"))
    thumbnails = "[...document.querySelectorAll('#trees button img')]"
    assert page.ask(f"{thumbnails}.length") >= 10
    assert page.ask(f"{thumbnails}.every((i) => i.naturalWidth === 28 && i.src.startsWith('data:image/png'))")
    quiet(page, path)

    assert xnas("report", search_id, "--joint", "--out", alone, "--root", THREE_OBJECTIVES).code == 0
    page.complaints.clear()
    page.requests.clear()
    page.open(alone.as_uri())
    page.until("document.querySelectorAll('#joint .findings tr').length > 1")
    assert drawn_everywhere(page) == 2
    quiet(page, alone)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_thousand_trials(page, tmp_path, capsys):
    made = script("report_page")
    space = made.SPACES.get("nasbench201")()
    search_id = made.made_store(tmp_path / "store", 16_000, space=space)
    path = tmp_path / "report.html"
    cost = made.made_page(tmp_path / "store", search_id, path, space)
    assert path.stat().st_size < MAX_BYTES
    opened(page, path)
    with capsys.disabled():
        print("\n16,000 trials:", {name: round(value, 2) for name, value in {**cost, **page.ask(made.TIMES)}.items()})
    counts = page.ask("document.querySelector('#front .plot').data.map((t) => (t.customdata || []).length)")
    assert sum(counts) > 15_000
    row = page.ask("document.querySelector('#front .plot').data[1].customdata[0]")
    x, y = point(page, "front", row)
    page.pointer("mouseMoved", x - 3, y)
    page.pointer("mouseMoved", x, y)
    page.until("!document.getElementById('hover').hidden")
    page.click(x, y)
    page.until("!document.getElementById('trial').hidden")
    drawn_everywhere(page)
    quiet(page, path)


def test_all_explanations_beside_each_other(page, made, tmp_path):
    from xnas_ray.report.page import packed, report_page
    from xnas_ray.report.payload import Searched, report_payload

    material = planted(made)
    searched = Searched(material, SPACE.graphs, SPACE.choices, supernet=material)
    made_at = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    payload = report_payload([searched], version="1", made_at=made_at)
    payload["searches"][0]["joint"]["motifs"][0]["text"] = LONG
    path = tmp_path / "report.html"
    path.write_text(report_page(packed(payload), "planted"), encoding="utf-8")
    opened(page, path)
    rows = page.ask("[...document.querySelectorAll('#joint .findings tr')].slice(1).map((r) => r.innerText)")
    findings = payload["searches"][0]["joint"]["findings"]
    assert len(rows) == len(findings) > 10
    for row, finding in zip(rows, findings, strict=True):
        assert finding["verdict"] in row and finding["asked"] in row and finding["statement"] in row
    disagree = page.ask("getComputedStyle(document.querySelector('#joint .disagree')).borderLeftColor")
    assert disagree == "rgb(213, 94, 0)"

    for i in range(2):
        page.ask(f"document.querySelectorAll('#joint .plot')[{i}].scrollIntoView()")
        page.until(f"document.querySelectorAll('#joint .plot')[{i}].dataset.drawn")
    first = "document.querySelector('#joint .plot')"
    assert page.ask(f"{first}.data[0].x.length") == len(payload["searches"][0]["joint"]["motifs"])
    assert page.ask(f"{first}.data[0].text[0]") == LONG.replace("<", "&lt;").replace(">", "&gt;")
    assert LONG in page.ask("document.querySelector('#joint').innerText")
    page.ask("""(() => { const list = document.querySelector('#joint select'); list.value = '1';
        list.dispatchEvent(new Event('change')); })()""")
    page.until(f"{first}.layout.yaxis.title.text === 'effect on nbdt_gap [%], positive is less of it'")
    operations = page.ask("document.querySelectorAll('#joint .plot')[1].data.map((t) => t.name)")
    assert operations == ["main effect", "motif effect", "magnitude", "influential_magnitude"]
    assert page.ask("document.querySelector('#joint a').getAttribute('href')") == "#trees"
    ink = page.ask(f"{first}.layout.font.color")
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.until(f"{first}.layout.font.color !== '{ink}'")
    assert page.ask("getComputedStyle(document.querySelector('#joint td')).color") == "rgb(236, 236, 236)"
    page.send("Emulation.setEmulatedMedia", features=[])
    more = "document.getElementById('trial').innerText.includes('what it decides first')"
    page.ask("document.querySelector('#joint h3 button').click()")
    page.until("!document.getElementById('trial').hidden")
    assert page.ask(more)
    quiet(page, path)

    path.write_text(report_page(packed({**payload, "only": "joint"}), "planted"), encoding="utf-8")
    page.requests.clear()
    page.open(path.as_uri())
    page.until("document.querySelector('#joint h3 button')")
    assert page.ask("document.querySelector('#joint a[href=\"#trees\"]')") is None, "there is no such section"
    page.ask("document.querySelector('#joint h3 button').click()")
    page.until("!document.getElementById('trial').hidden")
    assert not page.ask(more)
    quiet(page, path)


def test_a_page_of_one_section(page, evolved, tmp_path, xnas):
    root, search_id = evolved
    path = tmp_path / "joint.html"
    assert xnas("report", search_id, "--joint", "--root", root, "--out", path).code == 0
    opened(page, path)
    assert page.ask("[...document.querySelectorAll('main section')].map((s) => s.id)") == ["joint"]
    assert page.ask("document.querySelectorAll('#sections a').length") == 1
    quiet(page, path)
