"""One rank that computes influences: ``python influence_ranks_driver.py RANK SIZE FOLDER``; the first writes them.

Whole batches are dealt out to a network with batch normalisation; parts of batches go to one without, for a rank that
has a part would normalise by it. Five batches are no multiple of the ranks.
"""

import sys
from pathlib import Path

import torch
from gloo_rank import joined

from xnas_ray.supernets.derivatives import Derivatives, supernet_loss
from xnas_ray.supernets.discretize import Evidence, discretize
from xnas_ray.supernets.influence import influential_magnitude
from xnas_ray.supernets.inverse_hessian import SOLVERS, largest_eigenvalue
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.testing.tiny_supernet import TinySupernet, tiny_split
from xnas_ray.training.ranks import Ranks

BATCHES = 5
SOLVED = {
    "exact": {"damping": 1.0},
    "cg": {"damping": 1.0, "tolerance": 1e-13},
    "neumann": {"damping": 1.0, "terms": 20},
    "sherman_morrison": {"eta": 0.1},
    "woodbury": {"eta": 0.1},
}
METHODS = {
    "magnitude": {},
    "perturbation": {},
    "influence": {"solver": "woodbury", "solver_params": {"eta": 0.1}, "batches": BATCHES},
    "influential_magnitude": {"solver": "neumann", "solver_params": {"damping": 1.0}, "batches": BATCHES},
}


def found(ranks: Ranks) -> dict[str, torch.Tensor]:
    """Everything that must not depend on the number of ranks."""
    every: dict[str, torch.Tensor] = {}
    for kind in ("dealt", "parts"):
        supernet = TinySupernet(seed=2, normalise=kind == "dealt")
        data = SearchData(tiny_split(), batch_size=11, seed=0, ranks=ranks)
        give = data.dealt if kind == "dealt" else data.fixed
        batches = give(data.architecture_indices, BATCHES)
        one = Derivatives(supernet, supernet_loss(supernet), batches, ridge=0.05, ranks=ranks)
        v, u = torch.linspace(-1, 1, one.size, dtype=torch.float64), torch.eye(3, 4, dtype=torch.float64)
        every |= {
            f"{kind}/count": torch.tensor(one.count),
            f"{kind}/value": torch.tensor(one.value(), dtype=torch.float64),
            f"{kind}/gradient": one.gradient(),
            f"{kind}/hessian product": one.hessian_product(v),
            f"{kind}/hessian": one.hessian(),
            f"{kind}/mixed": one.mixed_product(u),
            f"{kind}/transposed": one.mixed_product_transposed(v),
            f"{kind}/largest": torch.tensor(largest_eigenvalue(one.hessian_product, v), dtype=torch.float64),
        }
        for name, settings in SOLVED.items():
            every[f"{kind}/{name}"] = influential_magnitude(one, SOLVERS.create(name, settings))
        if kind == "dealt":
            for name, params in METHODS.items():
                read = discretize(supernet, name, Evidence(data, ridge=0.05), params)
                every[f"discretize/{name}"] = torch.tensor(list(read.strengths.values()), dtype=torch.float64)
    return every


def main(rank: int, size: int, folder: Path) -> None:
    with joined(rank, size, folder) as ranks:
        result = found(ranks)
        if ranks.first:
            torch.save(result, folder / f"{size}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
