"""CPU seconds of one fit of the BANANAS ensemble: our batched numpy beside the same networks in torch.

``python experiments/performance/ensemble_speed.py`` trains the published ensemble (5 networks of 10 layers of 20 units,
150 epochs) on 50, 150 and 400 random cells of NAS-Bench-201 on one thread. The torch version trains all members as one
batch too, by ``baddbmm``, autograd and the fused Adam; both in double precision. Medians over the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from xnas_ray.randomness import Domain, rng
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.surrogates.ensemble import BETA_1, BETA_2, EPSILON, NetworkEnsemble, NetworkShape
from xnas_ray.surrogates.path_encoding import PathEncoding, PathId, columns_of, presence

SIZES = (50, 150, 400)

Rows = list[frozenset[PathId]]


def in_torch(rows: Rows, y: np.ndarray) -> None:
    """The same training with torch's means."""
    shape = NetworkShape()
    columns = columns_of(rows)
    x = torch.from_numpy(presence(rows, columns))
    target = torch.from_numpy((y - y.mean()) / y.std())
    sizes = [(len(columns), shape.width), *[(shape.width, shape.width)] * (shape.layers - 1), (shape.width, 1)]
    generator = torch.Generator().manual_seed(0)
    matrices, biases = [], []
    for inputs, outputs in sizes:
        drawn = torch.rand(shape.networks, inputs, outputs, dtype=torch.float64, generator=generator)
        matrices.append(torch.nn.Parameter((2 * drawn - 1) * (6 / (inputs + outputs)) ** 0.5))
        biases.append(torch.nn.Parameter(torch.zeros(shape.networks, 1, outputs, dtype=torch.float64)))
    parameters = [*matrices, *biases]
    betas = (BETA_1, BETA_2)
    optimizer = torch.optim.Adam(parameters, lr=shape.learning_rate, betas=betas, eps=EPSILON, fused=True)
    for _ in range(shape.epochs):
        orders = torch.stack([torch.randperm(len(y), generator=generator) for _ in range(shape.networks)])
        for batch in orders.split(shape.batch, dim=1):
            hidden = x[batch]
            for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
                hidden = torch.baddbmm(bias, hidden, matrix)
                hidden = torch.relu(hidden) if i < len(matrices) - 1 else hidden
            loss = (hidden[..., 0] - target[batch]).abs().mean(dim=1).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


def in_numpy(rows: Rows, y: np.ndarray) -> None:
    """What the controller does."""
    NetworkEnsemble().fit(rows, y, seed=0)


def cpu_s(fit: Callable[[Rows, np.ndarray], None], rows: Rows, y: np.ndarray, repeats: int) -> float:
    """Median CPU seconds of a fit; the first one warms up."""
    found = []
    for _ in range(repeats + 1):
        begun_s = time.process_time()
        fit(rows, y)
        found.append(time.process_time() - begun_s)
    return median(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    space, encoding, generator = NASBench201(), PathEncoding(), rng(0, Domain.POOL)
    genotypes = [space.sample(generator) for _ in range(max(SIZES))]
    rows = [encoding.add(space.key(genotype), space.graphs(genotype)) for genotype in genotypes]
    y = np.array([genotype.count(3) - genotype.count(0) for genotype in genotypes], dtype=np.float64)
    print(f"{'architectures':>13}{'numpy s':>10}{'torch s':>10}{'ratio':>8}")
    for size in SIZES:
        ours, theirs = (cpu_s(fit, rows[:size], y[:size], given.repeats) for fit in (in_numpy, in_torch))
        print(f"{size:>13}{ours:>10.3f}{theirs:>10.3f}{theirs / ours:>8.1f}")


if __name__ == "__main__":
    main()
