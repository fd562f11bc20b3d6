"""The texts of spaces of stages or layers, such as ``r224 c16 | k3 e1 c16 n2``: split, and each word looked up."""

from __future__ import annotations

from collections.abc import Sequence

from xnas_ray.errors import GenotypeError

FIELD = "architecture"
BETWEEN = " | "


def split_parts(text: str, number: int, what: str, example: str) -> list[str]:
    """The start of a text, and its ``number`` other parts.

    Args:
        text: of an architecture.
        number: of its layers or stages.
        what: what these are called.
        example: the text of a valid one, for the error.

    Raises:
        GenotypeError: it has another number of them.
    """
    parts = text.strip().split(BETWEEN) if isinstance(text, str) else [""]
    if len(parts) != number + 1:
        raise GenotypeError(
            f"{text!r} describes {len(parts) - 1} {what}, the space has {number}.",
            field=FIELD,
            fix=f"A valid one: {example}",
        )
    return parts


def split_words(part: str, number: int, where: str, example: str) -> list[str]:
    """The ``number`` words of a part.

    Raises:
        GenotypeError: there are more or fewer; says where.
    """
    words = part.split(" ")
    if len(words) != number:
        raise GenotypeError(f"{where} is {part!r}.", field=FIELD, fix=f"Write it like {example!r}.")
    return words


def option_index(word: str, options: Sequence[str], where: str) -> int:
    """Which option a word names.

    Raises:
        GenotypeError: none; says where, and which there are.
    """
    if word not in options:
        raise GenotypeError(f"{where} has {word!r}, which is not in the space.", field=FIELD, got=word, valid=options)
    return list(options).index(word)
