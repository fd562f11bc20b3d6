"""A specification from any of the forms in which people write one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnas_ray.spec_flags import SPEC_FLAGS

if TYPE_CHECKING:
    from xnas_ray.spec import SearchSpec


def dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword overrides as dotted names: ``trials`` is ``budget.trials``, ``budget__trials`` too."""
    names = {flag.alias: flag.name for flag in SPEC_FLAGS if flag.alias}
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        whole = name in ("space", "controller") and not isinstance(value, str)
        found[name if whole else names.get(name, name.replace("__", "."))] = value
    return found


def as_spec(
    spec: SearchSpec | Path | str | Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> SearchSpec:
    """A checked specification from any of its forms.

    A task that a TOML file gives as ``.``, ``./…`` or ``../…`` is relative to that file.

    Args:
        spec: a specification, the path of a TOML file, or nested mappings.
        overrides: dotted names to values that win.

    Raises:
        SpecError: it is malformed; names the field.
    """
    from xnas_ray.spec import SearchSpec

    if isinstance(spec, (str, Path)):
        path = Path(spec)
        found = SearchSpec.from_toml(path, overrides)
        beside_file = found.task == "." or found.task.startswith(("./", "../"))
        if beside_file and "task" not in (overrides or {}):
            found = found.model_copy(update={"task": str((path.parent / found.task).resolve())})
        return found
    given = spec.model_dump(exclude_unset=True) if isinstance(spec, SearchSpec) else spec
    return SearchSpec.from_mapping(given, overrides)
