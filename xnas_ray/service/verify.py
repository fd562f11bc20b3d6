"""Re-derives every proposal of a search from its rows: proof that the store holds all that its controller knew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnas_ray.messages import Candidate
from xnas_ray.service.archive import stored_card
from xnas_ray.service.derived import derived_architectures
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.proposals import Told
from xnas_ray.service.resolve import open_search
from xnas_ray.store.replay import replay

COMPARED = ("ask_number", "genotype", "recipe", "fidelity", "schedule_epochs", "replicate")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first proposal that does not follow from the rows.

    Attributes:
        trial: its number.
        field: what differs; ``"candidate"`` when the controller proposes nothing.
        recorded: as the ``asked`` row has it.
        derived: as the controller proposes it now.
    """

    trial: int
    field: str
    recorded: Any
    derived: Any


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        search_id: which search.
        asked: proposals in the store.
        equal: proposals that were derived again, in order, before the first mismatch.
        tells: outcomes that the controller was told on the way.
        mismatch: the first difference, None if there is none.
    """

    search_id: str
    asked: int
    equal: int
    tells: int
    mismatch: Mismatch | None


def verify(root: Path | str, search_id: str) -> Verification:
    """Ask a new controller for every proposal, telling it before each one exactly what had been told then.

    A controller's state is a function of its seed, the ordered tells and the set of adopted candidates; the ``asked``
    rows say which tells had arrived (``told_through``), and every earlier proposal was adopted. Equality is promised
    for the same version of the code.

    Args:
        root: folder of the store.
        search_id: whole id; the search may still run.

    Raises:
        SearchNotFoundError: no such search.
        XnasError: its task bundle was changed or cannot be imported.
    """
    history = replay(Path(root), search_id)
    opened = OpenSearch(open_search(Path(root), stored_card(root, search_id)))
    opened.derive(derived_architectures(Path(root), search_id))
    tells = list(zip(history.positions, history.outcomes, strict=True))
    asked = sorted(history.asked, key=lambda one: one.candidate.ask_number)
    told = 0
    for equal, one in enumerate(asked):
        while told < len(tells) and tells[told][0] <= one.told_through:
            opened.tell(Told(*tells[told]))
            told += 1
        proposal = opened.propose()
        mismatch = _compare(one.candidate, proposal.candidate if proposal else None)
        if mismatch is not None:
            return Verification(search_id, len(asked), equal, told, mismatch)
    return Verification(search_id, len(asked), len(asked), told, None)


def _compare(recorded: Candidate, derived: Candidate | None) -> Mismatch | None:
    if derived is None:
        return Mismatch(recorded.ask_number, "candidate", recorded, None)
    for name in COMPARED:
        expected, got = getattr(recorded, name), getattr(derived, name)
        if expected != got:
            return Mismatch(recorded.ask_number, name, expected, got)
    return None
