"""What the samples of a kept trial's decision tree cost: seconds to choose and to write them, and the size of the file.

``python experiments/performance/tree_samples.py`` makes random weights, logits and images of so many classes, and does
what a worker does for a trial whose weights are kept, on one thread. CPU seconds, least of the repeats; noise does not
compress, so files of real images are smaller.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from xnas_ray.explain.induced_hierarchy import induced_hierarchy
from xnas_ray.objectives.tree_outcome import TreeOutcome
from xnas_ray.objectives.tree_samples import tree_samples
from xnas_ray.randomness import Domain, rng
from xnas_ray.store.tree_samples import write_tree_samples
from xnas_ray.tasks.base import Data, Split
from xnas_ray.testing.tiny import tiny_trained

CASES = ((10, 1000, 32), (10, 10_000, 32), (100, 10_000, 32), (1000, 10_000, 64))
"""Classes, validation samples, pixels of a side."""

FEATURES = 64


def measure(classes: int, samples: int, side: int, repeats: int) -> tuple[float, float, int]:
    """Seconds of choosing and of writing, and bytes."""
    generator = rng(0, Domain.EXPLAIN, classes)
    names = tuple(f"class {k}" for k in range(classes))
    tree = induced_hierarchy(generator.normal(size=(classes, FEATURES)), names)
    images = torch.from_numpy(generator.random((samples, 3, side, side), dtype="float32"))
    logits = torch.from_numpy(3 * generator.standard_normal((samples, classes), dtype="float32"))
    targets = torch.arange(samples) % classes
    split = Split((images,), targets)
    data = Data(split, split, split, classes=names, image_range=((0.0, 1.0),) * 3)
    trained = replace(tiny_trained(), data=data, outputs=logits, targets=targets)
    chosen, written = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decision_tree.npz"
        for _ in range(repeats):
            outcome = TreeOutcome(tree, logits, targets)
            assert outcome.rules, "the objectives have made them"
            began = time.process_time()
            found = tree_samples(trained, outcome)
            chosen.append(time.process_time() - began)
            began = time.process_time()
            write_tree_samples(path, found)
            written.append(time.process_time() - began)
        return min(chosen), min(written), path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| classes | samples | pixels | choose, s | write, s | file, MB |\n|---|---|---|---|---|---|")
    for classes, samples, side in CASES:
        chosen, written, size = measure(classes, samples, side, given.repeats)
        print(f"| {classes} | {samples:,} | {side} | {chosen:.3f} | {written:.3f} | {size / 1e6:.2f} |")


if __name__ == "__main__":
    main()
