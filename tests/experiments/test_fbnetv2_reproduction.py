"""The FBNetV2 experiments, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "reproduce" / "fbnetv2"


def test_published_networks_are_listed_as_in_the_zoo(script):
    rows = script("published").rows()
    assert len(rows) == 13
    for _, _, counted, zoo, _, weights, zoo_weights, _ in rows:
        assert counted == zoo
        assert zoo_weights in ("", weights)


def test_the_readme_has_these_tables(script, capsys):
    script("published").main()
    printed = capsys.readouterr().out
    assert all(line in (FOLDER / "README.md").read_text() for line in printed.splitlines())


def test_a_heavy_cost_finds_a_light_architecture(script, capsys):
    small = {"seeds": 1, "epochs": 2, "warmup": 0, "train-epochs": 1, "images": 250}
    options = [part for name, value in small.items() for part in (f"--{name}", str(value))]
    script("cost_weight").main(["--weights", "0", "100", *options])
    _, _, *lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    flops, params = ([float(row[column].split(" ")[0].replace(",", "")) for row in cells] for column in (2, 3))
    assert [row[:2] for row in cells] == [["flops", "0"], ["flops", "100"], ["params", "0"], ["params", "100"]]
    assert flops[1] < flops[0] and params[3] < params[2]
