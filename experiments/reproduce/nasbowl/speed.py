"""How long NAS-BOWL takes to propose, beside the reference's loop over GraKeL.

``python experiments/reproduce/nasbowl/speed.py`` gives a controller 100, 400 and 1,600 outcomes of NAS-Bench-201 and
measures five proposals in a row, each assuming the earlier ones, over a pool of 200; between two measurements one more
outcome is told, so that every measurement draws its pool, encodes what is new in it and brings the model up to date. At
some of them hyper-parameters are due to be chosen anew (every tenth part of the outcomes).

The reference's loop is that of the published code, on the same outcomes: hyper-parameters by 3 depths and 20 gradient
steps, each building the kernel anew; then for each of 200 candidates the kernel of n + 1 graphs, and of 2 n graphs for
the incumbent's mean. GraKeL builds them, so its proposals of five cost one pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from xnas_ray.controllers.acquisition import expected_improvement
from xnas_ray.controllers.base import Goal
from xnas_ray.controllers.nasbowl import NASBOWL
from xnas_ray.messages import Candidate, Genotype, Outcome, TrialStatus
from xnas_ray.spaces.nasbench201 import NASBench201

SIZES = (100, 400, 1600)
POOL = 200
PROPOSALS = 5
REPEATS = 15
STEPS = 20
DEPTHS = (1, 2, 3)
GOAL = Goal("val_accuracy", maximize=True)
SPACE = NASBench201()


def made_accuracy(genotype: Genotype) -> float:
    """Percent: convolutions help, a little of it is each architecture's own."""
    own = np.random.default_rng(list(genotype)).random()
    return 60.0 + 5.0 * genotype.count(3) + 3.0 * genotype.count(2) - 2.0 * genotype.count(4) + own


def architectures(count: int) -> list[Genotype]:
    """Different ones, at random."""
    dice = np.random.default_rng(0)
    members = list(SPACE.enumerate())
    return [members[i] for i in dice.permutation(len(members))[:count]]


def completed(number: int, genotype: Genotype) -> Outcome:
    candidate = Candidate(number, genotype)
    metrics = {GOAL.name: made_accuracy(genotype)}
    return Outcome(number, candidate, TrialStatus.COMPLETED, metrics=metrics)


def proposals(outcomes: int, repeats: int = REPEATS) -> list[float]:
    """Seconds of five proposals, ``repeats`` times, each with one outcome more."""
    found = architectures(outcomes + repeats)
    seconds = []
    controller = NASBOWL(SPACE, [GOAL], seed=0, candidates="evolved", pool=POOL)
    for number, genotype in enumerate(found[:outcomes]):
        controller.tell(completed(number, genotype))
    controller.propose()  # the first one learns everything
    for genotype in found[outcomes:]:
        for number, candidate in list(controller.pending.items()):
            controller.tell(Outcome(number, candidate, TrialStatus.CANCELLED))
        controller.tell(completed(controller._next_ask, genotype))
        begun_s = time.perf_counter()
        for _ in range(PROPOSALS):
            assert controller.propose() is not None
        seconds.append(time.perf_counter() - begun_s)
    return seconds


def reference(outcomes: int, pool: int = POOL) -> float:
    """Seconds of one pass of the published loop."""
    from grakel import WeisfeilerLehman
    from grakel.utils import graph_from_networkx

    def kernel(genotypes: Sequence[Genotype], depth: int) -> np.ndarray:
        graphs = list(graph_from_networkx([SPACE.graphs(g)["cell"] for g in genotypes], "op_name"))
        return np.asarray(WeisfeilerLehman(n_iter=depth, normalize=True).fit_transform(graphs))

    def likelihood(gram: np.ndarray, noise: float) -> float:
        factor = np.linalg.cholesky(gram + noise * np.eye(len(gram)))
        white = np.linalg.solve(factor, targets)
        return float(-0.5 * white @ white - np.log(np.diag(factor)).sum())

    found = architectures(outcomes + pool)
    seen, candidates = found[:outcomes], found[outcomes:]
    values = -np.log(100.0 - np.array([made_accuracy(genotype) for genotype in seen]))
    targets = (values - values.mean()) / values.std()
    begun_s = time.perf_counter()
    depth = max(DEPTHS, key=lambda h: likelihood(kernel(seen, h), 1e-3))
    noises = np.geomspace(1e-5, 1e-2, STEPS)
    noise = float(noises[int(np.argmax([likelihood(kernel(seen, depth), noise) for noise in noises]))])
    scores = []
    for candidate in candidates:
        gram = kernel([*seen, candidate], depth)
        inverse = np.linalg.inv(gram[:-1, :-1] + noise * np.eye(outcomes))
        mean = gram[-1, :-1] @ inverse @ targets
        variance = max(1.0 + noise - gram[-1, :-1] @ inverse @ gram[-1, :-1], noise)
        cross = kernel([*seen, *seen], depth)[:outcomes, outcomes:]
        best = targets[int(np.argmax(cross.T @ inverse @ targets))]
        scores.append(expected_improvement(np.array([mean]), np.array([variance**0.5]), best)[0])
    np.argsort(scores)[-PROPOSALS:]
    return time.perf_counter() - begun_s


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--no-reference", action="store_true")
    given = parser.parse_args(arguments)
    for size in given.sizes:
        seconds = proposals(size, given.repeats)
        print(f"{size:>5} outcomes: five proposals {np.median(seconds):.4f} s (median), {max(seconds):.4f} s (longest)")
        if size == min(given.sizes) and not given.no_reference:
            taken = reference(size)
            print(f"{'':>5} the reference's loop {taken:.2f} s, {taken / np.median(seconds):.0f} times as long")


if __name__ == "__main__":
    main()
