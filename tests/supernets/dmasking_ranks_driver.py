"""One rank of a search: ``python dmasking_ranks_driver.py RANK SIZE FOLDER COST_FORM``; every rank writes its state.

Batch normalisation is computed over a rank's part of a batch, so it is taken out, and the derived network, which has
its own, is not judged: what is left must not depend on how many ranks share the batches, of which some are odd.
"""

import sys
from pathlib import Path

import torch
from gloo_rank import joined, without_normalisation

from xnas_ray.spaces.base import DataShape
from xnas_ray.spaces.fbnetv2 import FBNetV2
from xnas_ray.supernets.dmasking import DMaskingSearch
from xnas_ray.supernets.search_data import SearchData
from xnas_ray.tasks.base import Split


def main(rank: int, size: int, folder: Path, cost_form: str) -> None:
    with joined(rank, size, folder) as ranks:
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(46, 1, 4, 4, generator=generator, dtype=torch.float64)
        data = SearchData(Split(images, torch.arange(46) % 3), batch_size=9, seed=2, weight_share=0.6, ranks=ranks)
        space = FBNetV2(rows=[[[1, 2, 1], [8, 12, 4], 1, 1]], stem=8, stem_stride=1, head=8, resolutions=[2, 4])
        search = DMaskingSearch(
            space,
            DataShape(((1, 4, 4),), 3),
            data,
            epochs=2,
            seed=4,
            warmup_epochs=0,
            cost_form=cost_form,
            ranks=ranks,
            lr=0.01,
            architecture_lr=0.05,
            cost_target=20_000,
            grad_clip=0.5,
        )
        without_normalisation(search.supernet)
        search.supernet.double()
        search._derived = lambda epoch: {}  # type: ignore[method-assign]
        for _ in range(2):
            search.run()
        torch.save(search.state(), folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
