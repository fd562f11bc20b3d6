"""Parameters of NAS-BOWL, checked where they are given, and what its two modes make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xnas_ray.controllers.limits import Limit, check_limits
from xnas_ray.controllers.parameters import FIELD, flag, one_of, positive, whole
from xnas_ray.errors import SpecError
from xnas_ray.surrogates.metric_model import ModelOptions
from xnas_ray.surrogates.model_selection import KernelGrid
from xnas_ray.surrogates.targets import Transform, check_transform
from xnas_ray.surrogates.wl_features import Backend, Kind

ACQUISITIONS = ("log_ei", "ei", "ucb", "thompson")
CANDIDATES = ("auto", "all", "mutants", "random", "evolved")
FANTASIES = ("believer", "samples", "none")
SEVERAL = ("hypervolume", "ehvi")
MODES = ("default", "paper")
TRANSFERS = ("prior", "motifs", "none")
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Mode:
    """What differs between the modes.

    Attributes:
        acquisition: default acquisition function.
        candidates: default candidates.
        fantasies: default treatment of pending candidates.
        hamming: whether the kernel has a Hamming part by default.
        transform: default transform of a single objective.
        clip: whether the poor tail of a single objective is clipped by default.
        noise: smallest and largest noise variance over output scale.
        scale: a fixed output scale, None for the most likely one.
        believed: whether the incumbent is the outcome with the best posterior mean, not the best outcome.
    """

    acquisition: str
    candidates: str
    fantasies: str
    hamming: bool
    transform: Transform
    clip: bool
    noise: tuple[float, float]
    scale: float | None
    believed: bool


_MODES = {
    "default": Mode("log_ei", "auto", "believer", True, "ranks", True, (1e-2, 10.0), None, False),
    "paper": Mode("ei", "mutants", "none", False, "auto", False, (1e-5, 1e-2), 1.0, True),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Complete, checked parameters; ``NASBOWL`` describes them."""

    mode: Mode
    initial: int
    acquisition: str
    beta: float
    candidates: str
    pool: int
    parents: int
    fantasies: str
    several: str
    transfer: str
    kind: Kind
    backend: Backend
    depths: tuple[int, ...]
    model: ModelOptions
    transform_chosen: bool  # by the user, not by the mode
    limits: tuple[Limit, ...]

    @classmethod
    def check(
        cls,
        *,
        objectives: int,
        mode: str,
        initial: int,
        acquisition: str | None,
        beta: float,
        candidates: str | None,
        pool: int,
        parents: int,
        fantasies: str | None,
        several: str,
        transfer: str,
        kernel: str,
        backend: str,
        depths: Sequence[int],
        wl: bool,
        hamming: bool | None,
        members: int,
        transform: str | None,
        clip: bool | None,
        constraints: Sequence[str],
    ) -> Settings:
        """The settings of a user's parameters.

        Several objectives are not clipped and keep their distances, unless a user wants it otherwise: a front has ends
        that are poor in one of them, and its volume is measured in what they are worth.

        Raises:
            SpecError: naming the parameter, and the valid values.
        """
        given = _MODES[one_of("mode", mode, MODES)]
        layers = _depths(depths)
        single = objectives == 1
        grid = KernelGrid(
            depths=layers,
            wl_shares=_shares(wl, given.hamming if hamming is None else hamming),
            noise_floor=given.noise[0],
            noise_ceiling=given.noise[1],
            scale=given.scale,
            members=whole("members", members, 1),
        )
        model = ModelOptions(
            grid=grid,
            transform=check_transform(transform or (given.transform if single else "auto"), f"{FIELD}.transform"),
            clip=(given.clip and single) if clip is None else flag("clip", clip),
        )
        return cls(
            mode=given,
            initial=whole("initial", initial, 1),
            acquisition=one_of("acquisition", acquisition or given.acquisition, ACQUISITIONS),
            beta=positive("beta", beta),
            candidates=one_of("candidates", candidates or given.candidates, CANDIDATES),
            pool=whole("pool", pool, 2),
            parents=whole("parents", parents, 1),
            fantasies=one_of("fantasies", fantasies or given.fantasies, FANTASIES),
            several=one_of("several", several, SEVERAL),
            transfer=one_of("transfer", transfer, TRANSFERS),
            kind="oa" if one_of("kernel", kernel, ("subtree", "oa")) == "oa" else "subtree",
            backend="grakel" if one_of("backend", backend, ("native", "grakel")) == "grakel" else "native",
            depths=layers,
            model=model,
            transform_chosen=transform is not None,
            limits=check_limits(constraints, FIELD),
        )

    def with_sources(self) -> Settings:
        """The settings of a search that learns from others.

        What these expect are distances, which ranks among ever better architectures do not keep.
        """
        if self.transform_chosen or self.transfer != "prior":
            return self
        return dataclasses.replace(self, model=dataclasses.replace(self.model, transform="auto"))

    @property
    def depth(self) -> int:
        """Layers of features that are needed."""
        return max(self.depths)


def _shares(wl: bool, hamming: bool) -> tuple[float, ...]:
    """Weights of the WL part among which is chosen."""
    if not flag("hamming", hamming) and not flag("wl", wl):
        raise SpecError("the kernel needs a part: wl, hamming or both.", field=f"{FIELD}.wl")
    return tuple(w for w in KernelGrid().wl_shares if (wl or w == 0) and (hamming or w == 1))


def _depths(depths: Any) -> tuple[int, ...]:
    values = [depths] if isinstance(depths, int) else depths
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise SpecError(f"must be a list of whole numbers, got {depths!r}.", field=f"{FIELD}.depths")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_DEPTH:
            raise SpecError(
                f"must be whole numbers from 0 to {MAX_DEPTH}, got {value!r}.",
                field=f"{FIELD}.depths",
                fix="1 to 3 is usual: cells have few nodes.",
            )
    return tuple(sorted(set(values)))
