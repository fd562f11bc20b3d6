"""Drawings of motifs: what they show is checked in their infos, which the figures merely draw."""

from __future__ import annotations

from xnas_ray.explain.cell_drawing import cell_info
from xnas_ray.explain.motif_drawing import motif_info, tree_layout


def test_trees_hang_from_their_root():
    nodes = tree_layout(("a", (("b", (("d", ()),)), ("c", (("e", ()), ("f", ()))))))
    assert [n.label for n in nodes] == ["a", "b", "d", "c", "e", "f"]
    assert [n.parent for n in nodes] == [None, 0, 1, 0, 3, 3]
    assert [n.y for n in nodes] == [0, -1, -2, -1, -2, -2]
    assert [n.x for n in nodes] == [0.75, 0, 0, 1.5, 1, 2]


def test_the_best_and_the_worst_are_shown(drawn_table):
    info = motif_info(drawn_table, 3)
    assert [p.motif.effect for p in info.best] == drawn_table["whole"][:3].tolist()
    assert [p.motif.effect for p in info.worst] == drawn_table["whole"][:-4:-1].tolist()
    first, row = info.best[0], drawn_table.iloc[0]
    assert first.title.splitlines() == [
        f"{row['whole']:+.3g} %",
        f"[{row['whole_low']:+.3g}, {row['whole_high']:+.3g}]",
        f"in {row['support']} of 300",
    ]
    assert first.nodes == tree_layout(first.motif.tree)
    assert info.title == "val_accuracy: change by a further occurrence, [90% over architectures]"
    drawn = {node.label for panel in (*info.best, *info.worst) for node in panel.nodes}
    assert set(info.colours) == drawn


def test_other_parts_of_the_kernel_are_mentioned(drawn_table):
    assert motif_info(drawn_table.assign(wl_share=0.4)).title.endswith("; explains 40% of the model's predictions")


def test_what_the_model_is_not_sure_of_is_written_beside(drawn_table):
    known = drawn_table.assign(whole_posterior_std=0.25)
    assert motif_info(known).best[0].title.splitlines()[0] == f"{drawn_table['whole'][0]:+.3g} % ± 0.25"


def test_cells_are_named_when_there_are_several(drawn_table):
    two = drawn_table.assign(
        cell=["normal", "reduction"] * (len(drawn_table) // 2) + ["normal"] * (len(drawn_table) % 2)
    )
    assert motif_info(two).best[0].title.endswith(two["cell"][0])
    assert not motif_info(drawn_table).best[0].title.endswith("cell")


def test_drawings_of_one_table_share_their_colours(drawn, drawn_table):
    motifs, cells = (
        motif_info(drawn_table).colours,
        [cell_info({"cell": g}, drawn_table).colours for g in drawn.graphs[:20]],
    )
    shared = [set(colours) & set(motifs) for colours in cells]
    assert all(colours[name] == motifs[name] for colours, names in zip(cells, shared, strict=True) for name in names)
    assert any(names - {"input", "output"} for names in shared)
