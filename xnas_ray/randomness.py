"""Counted randomness: every draw is a function of a seed, a domain and counters, never of what was drawn before."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from xnas_ray.messages import Genotype


class Domain(IntEnum):
    """What random numbers are for; two domains never share a stream."""

    ASK = 1
    TRIAL = 2
    SPLIT = 3
    POOL = 4
    EXPLAIN = 5


def rng(seed: int, domain: Domain, *counters: int) -> np.random.Generator:
    """The generator of one purpose: ``rng(seed, Domain.ASK, k)`` draws candidate ``k`` of a search.

    Philox keyed by a SeedSequence (Salmon et al. 2011): streams of different counters are independent, and a stream
    can be made again at any time without replaying others. Domain and counters are the spawn key, each widened to 64
    bits, so that no seed and counters can spell another stream's.
    """
    words = [part for value in (int(domain), *counters) for part in divmod(value, 2**32)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=words)))


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one JSON text of a mapping: sorted keys, no spaces, 1.0 written as 1; NaN is refused (ValueError)."""
    return json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _whole(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def training_seed(
    train_seed: int,
    task_hash: str,
    space: str,
    key: str,
    recipe: Mapping[str, Any],
    replicate: int,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Seed of a candidate's training, in [0, 2**63): the same in any search, order and fidelity.

    Args:
        train_seed: the specification's.
        task_hash: content hash of the task folder.
        space: ``Space.fingerprint``: name and parameters.
        key: the architecture's key.
        recipe: the complete recipe, not only what differs from the search's.
        replicate: which repetition.
        data: what was asked of ``load_data`` beside its defaults; nothing is the same as no word about it.
    """
    what = {"s": train_seed, "t": task_hash, "x": space, "k": key, "r": dict(recipe), "n": replicate}
    text = canonical_json({**what, "d": dict(data)} if data else what)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def candidate_identity(key: str, recipe: Mapping[str, Any], replicate: int) -> str:
    """What makes two candidates the same evaluation, whatever their fidelity."""
    return canonical_json({"k": key, "r": dict(recipe), "n": replicate})


def as_genotype(values: Any) -> Genotype:
    """A genotype of built-in ints from any sequence of integers; TypeError for anything else, 1.0 and True included."""
    values = tuple(values)
    if any(isinstance(v, (bool, np.bool_)) for v in values):
        raise TypeError("a genotype holds option indices, not truth values")
    return tuple(operator.index(v) for v in values)
