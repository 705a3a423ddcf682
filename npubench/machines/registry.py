"""Family names to the code behind them; a family is imported when a spec first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from npubench.errors import SpecError, did_you_mean
from npubench.machines.protocol import Machine
from npubench.specs.loader import SpecDocument
from npubench.specs.tree import ScalarNode

__all__ = ["FAMILIES", "build_machine"]

Builder: TypeAlias = "Callable[[SpecDocument], Machine[Any]]"


def _array() -> Builder:
    from npubench.machines.array import build

    return build


def _associative() -> Builder:
    from npubench.machines.associative import build

    return build


def _system() -> Builder:
    from npubench.machines.system import build

    return build


FAMILIES: Mapping[str, Callable[[], Builder]] = MappingProxyType(
    {"array": _array, "associative": _associative, "system": _system}
)


def build_machine(document: SpecDocument) -> Machine[Any]:
    """The machine that a spec describes, by the family it names.

    Raises:
        SpecError: no family, an unknown one, or a spec with mistakes; each at its line.
    """
    node = document.root.get("family")
    if node is None:
        hint = did_you_mean("", FAMILIES)
        raise SpecError(document.root.place.problem("missing key 'family'", hint))
    name = node.text if isinstance(node, ScalarNode) else ""
    family = FAMILIES.get(name)
    if family is None:
        what = f"unknown family '{name}'" if name else "expected the name of a family"
        raise SpecError(node.place.problem(what, did_you_mean(name, FAMILIES), "family"))
    return family()(document)
