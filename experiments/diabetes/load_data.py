"""Diabetes progression of 442 patients from ten measurements (Efron et al. 2004): comes with scikit-learn."""

import torch
from sklearn.datasets import load_diabetes

from xnas_ray.tasks.base import Data, Split
from xnas_ray.tasks.splits import split_tensors


def load_data() -> Data:
    """Measurements and progression with mean 0 and deviation 1 over the training split."""
    bunch = load_diabetes(scaled=False)
    x = torch.from_numpy(bunch.data).float()
    y = torch.from_numpy(bunch.target).float()
    train, validation, test = split_tensors(x, y, (0.6, 0.2, 0.2), seed=0, stratify=False)
    x_mean, x_deviation = train.inputs[0].mean(0), train.inputs[0].std(0)
    y_mean, y_deviation = train.targets.mean(), train.targets.std()

    def standardised(split: Split) -> Split:
        return Split(((split.inputs[0] - x_mean) / x_deviation,), (split.targets - y_mean) / y_deviation)

    return Data(
        train=standardised(train),
        validation=standardised(validation),
        test=standardised(test),
        source="scikit-learn load_diabetes, 442 patients",
    )
