"""What drawings share: colours, and files that are the same whenever they are written."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from xnas_ray.errors import StoreError
from xnas_ray.explain.cell_drawing import cell_figure, cell_info
from xnas_ray.explain.drawing import operation_colours, save_figure, shortened
from xnas_ray.explain.motif_drawing import motif_figure, motif_info


def test_operations_keep_their_colours():
    colours = operation_colours(["conv", "input", "pool", "output", "add", "input2", "conv"])
    assert list(colours) == sorted(colours)
    assert colours["input"] == colours["input2"]
    assert len(set(colours.values())) == 5  # input and input2, output, add, conv, pool
    assert operation_colours(["pool"], ["conv", "pool"])["pool"] == operation_colours(["pool"])["pool"]


def test_names_are_cut_and_escaped():
    assert shortened("a" * 60) == "a" * 60 and shortened("a" * 61) == "a" * 59 + "…"
    assert shortened("x\x1b[2J\u202e", 9) == "x\\x1b[2J…" and shortened("Löwe") == "Löwe"


def test_figures_become_files(drawn, drawn_table, tmp_path):
    figures = {
        "motifs": motif_figure(motif_info(drawn_table)),
        "cell": cell_figure(cell_info({"cell": drawn.graphs[0]}, drawn_table)),
    }
    for name, figure in figures.items():
        svg, png = save_figure(figure, tmp_path / "new" / "folder", name)
        assert svg.name == f"{name}.svg" and png.name == f"{name}.png"
        assert ET.parse(svg).getroot().tag.endswith("svg") and png.read_bytes().startswith(b"\x89PNG")
        texts = svg.read_text(encoding="utf-8")
        assert ">input<" in texts or ">avgpool<" in texts  # letters stay letters: searchable, and as small as can be


def test_the_same_figure_gives_the_same_bytes(drawn_table, tmp_path):
    first = save_figure(motif_figure(motif_info(drawn_table)), tmp_path / "a", "motifs")
    second = save_figure(motif_figure(motif_info(drawn_table)), tmp_path / "b", "motifs")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_nothing_to_show_is_drawn_too(drawn_table, tmp_path):
    info = motif_info(drawn_table[:0])
    assert info.best == info.worst == () and info.title.startswith("no motifs")
    save_figure(motif_figure(info), tmp_path, "motifs")


def test_a_folder_that_cannot_be_written_is_named(drawn_table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file"):
        save_figure(motif_figure(motif_info(drawn_table)), tmp_path / "file", "motifs")
