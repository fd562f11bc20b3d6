"""How well Theorems 1 and 2 of DARTS-IM predict what training again does, against the size of the change.

``python experiments/reproduce/darts_im/theorems.py`` trains the weights of small supernets (66 weights, 12 mixing
weights, double precision) until the gradient vanishes, changes the mixing weights by ``d``, and trains the weights
again until it vanishes there. The loss then has changed by ``whole``; of that, ``gained`` came after the change itself,
by training. Predictions use the dense Hessian, so that what is left is the theorems' own error:

- Theorem 1 and the Schur form ``Lpᵀd + ½ dᵀ(Lpp - BᵀH⁻¹B)d`` predict ``whole``;
- Theorem 2, ``-½ dᵀBᵀH⁻¹Bd``, predicts ``gained``; read as a prediction of ``whole``, as printed, it leaves out what
  the change alone does (last column).

Figures are medians of relative errors over random directions and supernets.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.supernets.influence import change_by_schur, change_by_theorem_1, change_by_theorem_2
from xnas_ray.supernets.inverse_hessian import Exact
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.testing.tiny_supernet import TinySupernet, settle, tiny_split

SIZES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
RIDGE = 0.05
EXACT = Exact()


def converged(seed: int) -> Derivatives:
    """Derivatives of a supernet at its optimum, over the whole architecture part."""
    supernet = TinySupernet(seed=seed)
    data = SearchData(tiny_split(seed=seed), batch_size=15, seed=seed)
    derivatives = Derivatives(supernet, supernet_loss(supernet), data.fixed(data.architecture_indices, 4), ridge=RIDGE)
    settle(derivatives)
    return derivatives


def trained_again(derivatives: Derivatives, change: Tensor) -> tuple[float, float]:
    """The whole change of the loss, and the part that training gained; the weights are afterwards as before."""
    best = derivatives.flat_weights()
    there = derivatives.at(derivatives.variables.detach() + change)
    frozen = there.value()
    settle(there)
    settled = there.value()
    derivatives.set_weights(best)
    return settled - derivatives.value(), settled - frozen


def errors(derivatives: Derivatives, directions: int, sizes: Sequence[float], seed: int) -> Iterator[dict[str, float]]:
    """Relative errors of every prediction, a record a direction and size (the Euclidean length of ``d``)."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(directions):
        direction = torch.randn(derivatives.variables.shape, generator=generator, dtype=torch.float64)
        for size in sizes:
            d = size * direction / direction.norm()
            whole, gained = trained_again(derivatives, d)
            by_2 = change_by_theorem_2(derivatives, d, EXACT)
            yield {
                "size": size,
                "Theorem 1": abs(change_by_theorem_1(derivatives, d, EXACT) / whole - 1),
                "Schur": abs(change_by_schur(derivatives, d, EXACT) / whole - 1),
                "Theorem 2, gained": abs(by_2 / gained - 1),
                "Theorem 2, whole": abs(by_2 / whole - 1),
            }


def measure(supernets: int, directions: int, sizes: Sequence[float] = SIZES) -> pd.DataFrame:
    """Median errors by size, the largest first."""
    records = [record for seed in range(supernets) for record in errors(converged(seed), directions, sizes, seed)]
    return pd.DataFrame(records).groupby("size").median().sort_index(ascending=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernets", type=int, default=3)
    parser.add_argument("--directions", type=int, default=5, help="random directions a supernet")
    parser.add_argument("--sizes", type=float, nargs="+", default=list(SIZES))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = measure(given.supernets, given.directions, given.sizes)
    columns = list(table.columns)
    print("| size | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for size, row in table.iterrows():
        print(f"| {size:g} | " + " | ".join(f"{100 * row[name]:.3g} %" for name in columns) + " |")


if __name__ == "__main__":
    main()
