"""What can go wrong, as values: a problem names its place, what was expected and how to mend it.

Commands raise; only ``npubench.cli.app.main`` prints and exits. A traceback is a bug in npubench,
never an answer to a user's mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "GateError",
    "InputError",
    "MappingError",
    "ModelError",
    "NpubenchError",
    "OptionError",
    "Problem",
    "SpecError",
    "did_you_mean",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: what is wrong, where (line and column count from 1) and a way out."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def render(self) -> str:
        """``file:line:column: message``, with the hint on an indented second line."""
        place = "".join(
            f"{part}:" for part in (self.file, self.line, self.column) if part is not None
        )
        head = f"{place} {self.message}" if place else self.message
        return head if self.hint is None else f"{head}\n  {self.hint}"


class NpubenchError(Exception):
    """Base of every error npubench raises on purpose; carries at least one problem."""

    exit_code: ClassVar[int] = 3

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            Problem(p) if isinstance(p, str) else p for p in problems
        )
        super().__init__("\n".join(p.render() for p in self.problems))


class InputError(NpubenchError):
    """The user's input is at fault, or it cannot be mapped."""

    exit_code: ClassVar[int] = 2


class ModelError(InputError):
    """An ONNX file that cannot be read or lowered."""


class SpecError(InputError):
    """A hardware or workload description with mistakes in it."""


class MappingError(InputError):
    """A network that this machine cannot run: too large, or no format for its precision."""


class OptionError(InputError):
    """A command-line value that makes no sense."""


class GateError(NpubenchError):
    """A gate that the user stated did not hold (``--max-unknown``, ``--strict``, ``--fail-if``)."""

    exit_code: ClassVar[int] = 1


def did_you_mean(word: str, choices: Iterable[str], listed: int = 8) -> str | None:
    """A hint for a mistyped name: the nearest choice, else the first few choices, else None."""
    known = sorted(set(choices))
    folded = {choice.lower().replace("-", "_"): choice for choice in known}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    if not known:
        return None
    more = f", ... ({len(known)} in all)" if len(known) > listed else ""
    return f"known: {', '.join(known[:listed])}{more}"
