"""How near solvers come to the exact influential magnitude, on small supernets whose Hessian can be made.

``python experiments/reproduce/darts_im/solvers.py`` trains the weights of small supernets (66 weights, 3 edges of 4
operations, double precision) until the gradient vanishes. There ``H > 0``, and ``I_M = -BᵀH⁻¹B1`` is known exactly.
Every solver gets the same ``B1``; shown are the medians over supernets of

- the cosine of its ``H⁻¹B1`` with the exact one, and that of its ``I_M``;
- the share of edges on which it chooses the same operation (the mean).

``N`` is the number of batches of 5 samples from which the Fisher matrix is made; the Hessian is that of all 60.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from theorems import RIDGE, converged
from torch import Tensor
from torch.nn.functional import cosine_similarity

from xnas_ray.supernets.derivatives import Derivatives
from xnas_ray.supernets.inverse_hessian import SOLVERS, Exact

NONE = 1
"""Operations before the first one that may be chosen."""

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("identity", {}),
    **{f"neumann, gamma 1e-3, K={k}": ("neumann", {"gamma": 1e-3, "terms": k}) for k in (3, 30)},
    **{f"neumann, gamma 1/λmax, K={k}": ("neumann", {"terms": k}) for k in (3, 10, 30, 100)},
    "cg, damping 1e-3": ("cg", {}),
}
FISHER = (1, 3, 6, 12)


@dataclass(frozen=True)
class Exactly:
    """What solvers are compared with.

    Attributes:
        derivatives: at the optimum.
        pulled: ``B1``.
        solved: ``H⁻¹B1``.
        magnitude: ``I_M``.
    """

    derivatives: Derivatives
    pulled: Tensor
    solved: Tensor
    magnitude: Tensor

    @classmethod
    def of(cls, derivatives: Derivatives) -> Exactly:
        """Of a supernet whose weights have settled."""
        pulled = derivatives.mixed_product(torch.ones_like(derivatives.variables))
        solved = Exact().solve(derivatives, pulled)
        return cls(derivatives, pulled, solved, -derivatives.mixed_product_transposed(solved))

    def compare(self, name: str, params: dict[str, Any], curvature: Derivatives) -> dict[str, float]:
        """The figures of one solver on this supernet."""
        solved = SOLVERS.create(name, params).solve(curvature, self.pulled)
        magnitude = -self.derivatives.mixed_product_transposed(solved)
        same = magnitude[:, NONE:].argmax(1) == self.magnitude[:, NONE:].argmax(1)
        return {
            "cosine of H⁻¹B1": float(cosine_similarity(solved, self.solved, dim=0)),
            "cosine of I_M": float(cosine_similarity(magnitude.reshape(-1), self.magnitude.reshape(-1), dim=0)),
            "same choice": float(same.double().mean()),
        }


def small_batches(derivatives: Derivatives, count: int) -> Derivatives:
    """The same loss on the first ``count`` batches of 5 samples."""
    inputs = torch.cat([batch.inputs[0] for batch in derivatives.batches])
    targets = torch.cat([batch.targets for batch in derivatives.batches])
    kind = type(derivatives.batches[0])
    pairs = list(zip(inputs.split(5), targets.split(5), strict=True))[:count]
    return derivatives.over([kind((x,), y, len(y)) for x, y in pairs])


def measure(supernets: int) -> pd.DataFrame:
    """Figures by solver, in the order of the table."""
    records = []
    for seed in range(supernets):
        exact = Exactly.of(converged(seed))
        for label, (name, params) in SETTINGS.items():
            records.append({"solver": label, **exact.compare(name, params, exact.derivatives)})
        for count in FISHER:
            fisher = small_batches(exact.derivatives, count)
            found = exact.compare("woodbury", {"eta": RIDGE}, fisher)
            records.append({"solver": f"woodbury, N={count}", **found})
    groups = pd.DataFrame(records).groupby("solver", sort=False)
    table = groups.median()
    table["same choice"] = groups["same choice"].mean()
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernets", type=int, default=20)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = measure(given.supernets)
    print("| solver | " + " | ".join(table.columns) + " |")
    print("|---" * (len(table.columns) + 1) + "|")
    for solver, row in table.iterrows():
        print(f"| {solver} | " + " | ".join(f"{value:.3f}" for value in row) + " |")


if __name__ == "__main__":
    main()
