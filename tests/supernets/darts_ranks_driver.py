"""One rank of a search: ``python darts_ranks_driver.py RANK SIZE FOLDER``; every rank writes its state.

Batch normalisation is computed over a rank's part of a batch, so it is taken out: what is left must not depend on how
many ranks share the batches, of which some are odd.
"""

import sys
from pathlib import Path

import torch
from gloo_rank import joined, without_normalisation

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.supernets.darts import DartsSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split


def main(rank: int, size: int, folder: Path) -> None:
    with joined(rank, size, folder) as ranks:
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(46, 1, 4, 4, generator=generator, dtype=torch.float64)
        data = SearchData(Split(images, torch.arange(46) % 3), batch_size=9, seed=2, ranks=ranks)
        space = NASBench201(cells_per_stage=1, channels=2, stages=2)
        search = DartsSearch(
            space,
            DataShape(((1, 4, 4),), 3),
            data,
            epochs=3,
            seed=4,
            order=2,
            grad_clip=0.5,
            ranks=ranks,
            architecture_lr=0.01,
        )
        without_normalisation(search.supernet)
        search.supernet.double()
        search._make_optimizers()
        for _ in range(2):
            search.run()
        torch.save(search.state(), folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
