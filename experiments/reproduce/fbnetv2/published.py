"""FLOPs and parameters of the published FBNetV2 and FBNetV3 networks: counted, in the model zoo, in the papers.

``python experiments/reproduce/fbnetv2/published.py`` counts all thirteen from their definitions, in milliseconds, and
prints the sizes of the three search spaces.
"""

from __future__ import annotations

from xnas_ray.spaces.fbnet_published import PUBLISHED
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.spaces.fbnetv2_macros import MACROS
from xnas_ray.spaces.inverted_residuals import count


def rows() -> list[list[str]]:
    """A row a network; millions."""
    found = []
    for name, one in PUBLISHED.items():
        counted = count(one.definition)
        paper, zoo = one.paper_flops_millions, one.params_millions
        found.append(
            [
                name,
                str(one.definition.resolution),
                f"{counted.published.flops / 1e6:.6f}",
                f"{one.flops_millions:.6f}",
                "" if paper is None else f"{paper:g}",
                f"{counted.published.params / 1e6:.6f}",
                "" if zoo is None else f"{zoo:.6f}",
                f"{counted.cost.params / 1e6:.6f}",
            ]
        )
    return found


def sizes() -> list[list[str]]:
    """A row a search space: layers, and genotypes without resolutions."""
    spaces = {name: FBNetV2(macro=name) for name in MACROS}
    return [[n, str(len(s.layers)), f"{s.size // len(s.resolutions):,}"] for n, s in spaces.items()]


def main() -> None:
    head = ["network", "pixels", "MFLOPs", "zoo", "paper", "M weights", "zoo", "M parameters"]
    for table in ([head, ["---"] * len(head), *rows()], [["space", "layers", "genotypes"], ["---"] * 3, *sizes()]):
        print("\n".join(f"| {' | '.join(row)} |" for row in table), end="\n\n")


if __name__ == "__main__":
    main()
