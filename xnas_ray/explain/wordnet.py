"""WordNet's nouns (Miller, CACM 1995; Fellbaum 1998): what a class is called, and what it is a kind of.

Read from ``data.noun`` of WordNet 3.0, the version whose offsets are ImageNet's class ids (``n02084071`` is the synset
at byte 2084071). On Debian the package ``wordnet-base`` brings the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xnas_ray.errors import DataMissingError, UnknownNameError

DEBIAN = Path("/usr/share/wordnet")
NOUNS, INDEX = "data.noun", "index.noun"
WNID = re.compile(r"n\d{8}")

_IS_A = ("@", "@i")  # hypernym, and what a single thing is an instance of
_SENSE = re.compile(r"(.+):(\d+)")
_HOW = (
    "On Debian: apt-get install wordnet-base. Elsewhere copy data.noun and index.noun of WordNet 3.0 to "
    "$XNAS_DATA/wordnet/, or let WNSEARCHDIR name their folder."
)


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning of nouns.

    Attributes:
        wnid: ``n`` and eight digits, as ImageNet writes it.
        words: what it is called, the usual word first; spaces instead of underscores.
        hypernyms: wnids of what it is a kind or an instance of; none for the root, several where it has several.
        gloss: what it means.
    """

    wnid: str
    words: tuple[str, ...]
    hypernyms: tuple[str, ...]
    gloss: str

    @property
    def name(self) -> str:
        """The usual word."""
        return self.words[0]


class WordNet:
    """All noun synsets of one file, and the graph that their hypernyms make.

    Args:
        path: a ``data.noun``; the ``index.noun`` beside it, where there is one, gives the numbers of senses.

    Raises:
        DataMissingError: the file cannot be read or is no list of noun synsets.
    """

    def __init__(self, path: Path | str) -> None:
        """Read the file."""
        self.path = Path(path)
        self.synsets: dict[str, Synset] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            for line in lines:
                if line[:1].isdigit():  # the licence at the top is indented
                    synset = _parsed(line)
                    self.synsets[synset.wnid] = synset
        except OSError as error:
            raise DataMissingError(f"cannot read {path}: {error}.", field="wordnet", fix=_HOW) from None
        except (ValueError, IndexError) as error:
            raise DataMissingError(f"{path} is damaged: {error}.", field="wordnet", fix="Fetch it again.") from None
        missing = {parent for synset in self.synsets.values() for parent in synset.hypernyms} - set(self.synsets)
        if missing or not self.synsets:
            what = f"lacks {min(missing)}, which others are kinds of" if missing else "has no synset"
            raise DataMissingError(f"{path} is not a whole data.noun: it {what}.", field="wordnet", fix=_HOW)
        self._ancestors: dict[str, Mapping[str, int]] = {}
        self._deepest: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of synsets."""
        return len(self.synsets)

    # ---- by name ----------------------------------------------------------------------------------------------------

    def find(self, text: str) -> Synset:
        """The synset that a wnid, a word with one meaning, or a word with the number of its sense (``crane:5``) names.

        Raises:
            UnknownNameError: there is none, or the word has several meanings: all of them are listed, none is chosen.
        """
        if WNID.fullmatch(text):
            if text not in self.synsets:
                raise UnknownNameError(f"WordNet 3.0 has no noun {text}.", field="wnid", got=text)
            return self.synsets[text]
        numbered = _SENSE.fullmatch(text)
        word, number = (numbered[1], int(numbered[2])) if numbered else (text, None)
        senses = self.senses(word)
        if not senses:
            raise UnknownNameError(
                f"WordNet 3.0 has no noun {word!r}.", field="class", got=text, fix="Give its wnid, such as n02084071."
            )
        if number is None and len(senses) == 1:
            return senses[0]
        if number is not None and self._index is not None and 1 <= number <= len(senses):
            return senses[number - 1]
        raise self._ambiguous(word, number, senses)

    def senses(self, word: str) -> tuple[Synset, ...]:
        """Every meaning of a word, the most usual first where ``index.noun`` tells, else in the order of the file."""
        key = _key(word)
        if self._index is not None:
            return tuple(self.synsets[wnid] for wnid in self._index.get(key, ()) if wnid in self.synsets)
        return tuple(self.synsets[wnid] for wnid in self._by_word.get(key, ()))

    def _ambiguous(self, word: str, number: int | None, senses: tuple[Synset, ...]) -> UnknownNameError:
        numbered = self._index is not None
        shown = [
            f"{f'{word}:{k} = ' if numbered else ''}{s.wnid} ({s.gloss.split(';')[0]})" for k, s in enumerate(senses, 1)
        ]
        if number is None:
            message = f"{word!r} has {len(senses)} meanings."
        elif numbered:
            message = f"{word!r} has no sense {number}, it has {len(senses)}."
        else:
            message = f"without {INDEX} beside {self.path} the senses of {word!r} have no numbers."
        fix = "Give the wnid" + (f", or the word with the number of the sense, such as {word}:1." if numbered else ".")
        return UnknownNameError(message, field="class", valid=shown, fix=fix)

    @cached_property
    def _by_word(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for wnid, synset in self.synsets.items():
            for key in dict.fromkeys(map(_key, synset.words)):
                found.setdefault(key, []).append(wnid)
        return found

    @cached_property
    def _index(self) -> dict[str, list[str]] | None:
        """Wnids by word, in the order of their senses; None without the file."""
        try:
            lines = (self.path.parent / INDEX).read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        found: dict[str, list[str]] = {}
        for line in lines:
            if line and line[0] != " ":
                fields = line.split()
                found[_key(fields[0])] = [f"n{offset}" for offset in fields[-int(fields[2]) :]]
        return found

    # ---- the graph --------------------------------------------------------------------------------------------------

    def ancestors(self, wnid: str) -> Mapping[str, int]:
        """What a synset is a kind of, by any number of steps, itself included: wnid to the fewest steps up."""
        if wnid not in self._ancestors:
            steps, frontier = {wnid: 0}, [wnid]
            while frontier:
                upper = [parent for child in frontier for parent in self.synsets[child].hypernyms]
                below = steps[frontier[0]]
                frontier = [parent for parent in dict.fromkeys(upper) if parent not in steps]
                steps.update(dict.fromkeys(frontier, below + 1))
            self._ancestors[wnid] = steps
        return self._ancestors[wnid]

    def distance(self, first: str, second: str) -> int | None:
        """Fewest steps from one synset up to a common hypernym and down to the other; None where they share none."""
        ups, downs = self.ancestors(first), self.ancestors(second)
        return min((steps + downs[shared] for shared, steps in ups.items() if shared in downs), default=None)

    def min_depth(self, wnid: str) -> int:
        """Steps of the shortest way to a root."""
        return min(steps for above, steps in self.ancestors(wnid).items() if not self.synsets[above].hypernyms)

    def max_depth(self, wnid: str) -> int:
        """Steps of the longest way to a root."""
        if wnid not in self._deepest:
            above = [self.max_depth(parent) for parent in self.synsets[wnid].hypernyms]
            self._deepest[wnid] = 1 + max(above) if above else 0
        return self._deepest[wnid]

    @cached_property
    def depth(self) -> int:
        """The largest ``max_depth`` of all nouns, 19 in WordNet 3.0."""
        return max(map(self.max_depth, self.synsets))


def find_wordnet() -> WordNet:
    """WordNet as it is found on this machine: ``$XNAS_DATA/wordnet``, ``$WNSEARCHDIR``, Debian's package.

    Raises:
        DataMissingError: it is in none of these; says how to get it.
    """
    found = wordnet_folder()
    if found is None:
        raise DataMissingError(f"there is no {NOUNS} of WordNet on this machine.", field="wordnet", fix=_HOW)
    return _opened(found / NOUNS)


def wordnet_folder() -> Path | None:
    """Where WordNet is on this machine; None where it is not."""
    return next((folder for folder in _folders() if (folder / NOUNS).is_file()), None)


def _folders() -> Iterator[Path]:
    if data := os.environ.get("XNAS_DATA", "").strip():
        yield Path(data).expanduser() / "wordnet"
    if named := os.environ.get("WNSEARCHDIR", "").strip():
        yield Path(named).expanduser()
    yield DEBIAN


_OPEN: dict[tuple[str, int], WordNet] = {}


def _opened(path: Path) -> WordNet:
    """The file is read once a process and version of it."""
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _OPEN:
        _OPEN[key] = WordNet(path)
    return _OPEN[key]


def _key(word: str) -> str:
    return word.strip().lower().replace(" ", "_")


def _parsed(line: str) -> Synset:
    """One line as in wndb(5WN): offset, file, n, how many words (in hexadecimal), each with an id, pointers."""
    before, _, gloss = line.partition(" | ")
    fields = before.split()
    if fields[2] != "n" or not WNID.fullmatch(f"n{fields[0]}"):
        raise ValueError(f"this is no noun: {line[:40]!r}")
    words = int(fields[3], 16)
    pointers = fields[5 + 2 * words :]
    if len(pointers) != 4 * int(fields[4 + 2 * words]):
        raise ValueError(f"synset {fields[0]} has another number of pointers than it says")
    above = [f"n{offset}" for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True) if symbol in _IS_A]
    names = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * words : 2])
    return Synset(f"n{fields[0]}", names, tuple(dict.fromkeys(above)), gloss.strip())
