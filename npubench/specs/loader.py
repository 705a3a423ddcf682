"""A spec file as a document: read, overridden on the command line, validated against a schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar, cast

from pydantic import ValidationError

from npubench import units
from npubench.errors import OptionError, Problem, SpecError, did_you_mean
from npubench.specs.explain import explain
from npubench.specs.quantity import SpecModel
from npubench.specs.tree import (
    MAX_BYTES,
    Entry,
    MappingNode,
    Node,
    Place,
    Plain,
    ScalarNode,
    SequenceNode,
    item_name,
    parse_tree,
    plain,
    spec_error,
)

__all__ = ["SET_BY_USER", "YAML_SUFFIXES", "SpecDocument", "find_node", "graft", "is_quantity"]

YAML_SUFFIXES: Final = (".yaml", ".yml")
SET_BY_USER: Final = "set on the command line"

_QUANTITY_KEYS: Final = frozenset({"value", "range", "source", "confidence"})
_Model = TypeVar("_Model", bound=SpecModel)


@dataclass(frozen=True)
class SpecDocument:
    """One YAML file, syntactically sound, with every override applied so far.

    Attributes:
        root: the top-level mapping; its nodes know their line and column.
        path: the file as it is named in messages.
        settings: (knob, text) of every knob in force, in the order of the file; see `knobs`.
    """

    root: MappingNode
    path: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_file(cls, path: Path, shown: str | None = None) -> SpecDocument:
        """Read a file; ``shown`` is its name in messages, by default the path itself.

        Raises:
            SpecError: no such file, not readable, or not sound YAML; every mistake at once.
        """
        name = shown if shown is not None else str(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise SpecError(_missing_file(path, name)) from None
        except IsADirectoryError:
            raise SpecError(Problem("is a folder, not a spec file", name)) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise SpecError(Problem(f"cannot be read: {reason}", name)) from None
        return cls.from_text(data, name)

    @classmethod
    def from_text(cls, text: str | bytes, path: str = "<text>") -> SpecDocument:
        """Read the text of a file; raises SpecError with every mistake."""
        root = parse_tree(text, path)
        if not isinstance(root, MappingNode):
            kind = "a list" if isinstance(root, SequenceNode) else "a single value"
            raise SpecError(
                root.place.problem(f"a spec is a mapping of keys to values, not {kind}")
            )
        return cls(root, path)

    @property
    def knobs(self) -> dict[str, str]:
        """Knob settings in force, as `npubench.specs.header.apply_knobs` left them."""
        return dict(self.settings)

    @cached_property
    def tree(self) -> Plain:
        """The content as Python values (`npubench.specs.tree.plain`)."""
        return plain(self.root)

    @cached_property
    def sha256(self) -> str:
        """Hash of the content with overrides; comments, key order and layout do not matter."""
        text = json.dumps(self.tree, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def validate(self, model: type[_Model]) -> _Model:
        """The document as a ``model``.

        Raises:
            SpecError: every mistake, sorted by line.
            OptionError: the same, when only overrides are at fault.
        """
        try:
            return model.model_validate(self.tree)
        except ValidationError as error:
            # A knob that sets two fields makes one mistake, not two.
            found = list(dict.fromkeys(explain(error, self.root)))
        if all(problem.file is None for problem in found):
            raise OptionError(*found)
        raise spec_error(found)

    def validate_part(self, model: type[_Model]) -> _Model:
        """`validate` of the model's own keys alone, worked out once a document."""
        if model not in self._parts:
            own = tuple(e for e in self.root.entries if e.key in model.model_fields)
            part = replace(self, root=replace(self.root, entries=own))
            self._parts[model] = part.validate(model)
        return cast("_Model", self._parts[model])

    @cached_property
    def _parts(self) -> dict[type[SpecModel], SpecModel]:
        return {}

    def override(self, path: str, text: str, option: str) -> SpecDocument:
        """A new document with one field replaced or an optional field of the schema added.

        Args:
            path: dotted road; items of a list by their ``name`` or their index from 0.
            text: the new value, YAML (``1 GHz``, ``[1, 2]``, ``{value: ...}``). A single value put
                on a quantity replaces its value, drops its range and makes it an assumption.
            option: what the user wrote, ``--set clock=1 GHz``; messages begin with it.

        Raises:
            OptionError: no such path, or a text that is not YAML. A last step that the file lacks
                is added; `validate` then says if the schema does not know it.
        """
        try:
            new = parse_tree(text, None, option)
        except SpecError as error:
            raise OptionError(*error.problems) from None
        return self.put(path, new)

    def put(self, path: str, new: Node) -> SpecDocument:
        """`override` with a node, which knows its own place, instead of text."""
        steps = path.split(".")
        old = find_node(self.root, steps[:-1])
        if steps[-1] == "value" and isinstance(old, MappingNode) and is_quantity(old):
            steps = steps[:-1]
        old = find_node(self.root, steps)
        if isinstance(old, MappingNode) and is_quantity(old) and isinstance(new, ScalarNode):
            new = _revalued(old, new)
        root = graft(self.root, steps, new, new.place)
        return self if root == self.root else replace(self, root=root)


def is_quantity(node: MappingNode) -> bool:
    """Whether a mapping is the long form of a quantity."""
    return node.get("value") is not None and _QUANTITY_KEYS.issuperset(node.keys())


def _revalued(quantity: MappingNode, new: ScalarNode) -> MappingNode:
    """A quantity with the user's value: no range, an assumption; untouched if nothing changes."""
    old = quantity.get("value")
    if isinstance(old, ScalarNode) and _same_measure(old.text, new.text):
        return quantity
    words = {"source": SET_BY_USER, "confidence": "assumed"}
    origin = (
        Entry(key, new.place, ScalarNode(word, quoted=True, place=new.place))
        for key, word in words.items()
    )
    return MappingNode((Entry("value", new.place, new), *origin), quantity.place)


def _same_measure(old: str, new: str) -> bool:
    """Whether two texts state one quantity: '1 GHz' and '1000 MHz'."""
    try:
        first, second = units.parse_any(old), units.parse_any(new)
    except units.UnitError:
        return False
    return first.value == second.value and first.dimension == second.dimension


def _index(items: tuple[Node, ...], step: str) -> int | None:
    """The item of a list that a step of a dotted path names, by its name or else its index."""
    for index, item in enumerate(items):
        if item_name(item) == step:
            return index
    if step.isascii() and step.isdecimal() and len(step) < 9 and int(step) < len(items):
        return int(step)
    return None


def find_node(node: Node, steps: list[str]) -> Node | None:
    """The node at the end of a dotted path, or None."""
    for step in steps:
        found: Node | None = None
        if isinstance(node, MappingNode):
            found = node.get(step)
        elif isinstance(node, SequenceNode):
            index = _index(node.items, step)
            found = None if index is None else node.items[index]
        if found is None:
            return None
        node = found
    return node


def graft(root: MappingNode, steps: list[str], new: Node, place: Place) -> MappingNode:
    """The tree with ``new`` at the end of a path.

    Raises:
        OptionError, SpecError: a path that leads nowhere, reported at ``place``: the option or the
            line that gave the path.
    """
    grown = _graft(root, steps, 0, new, place)
    if not isinstance(grown, MappingNode):
        raise TypeError("the top level of a document stays a mapping")
    return grown


def _graft(node: Node, steps: list[str], depth: int, new: Node, place: Place) -> Node:
    if depth == len(steps):
        return new
    step, last = steps[depth], depth == len(steps) - 1
    if isinstance(node, MappingNode):
        below = node.get(step)
        if below is None and not (last and step):
            raise _dead_end(steps, depth, node.keys(), place)
        if below is None:
            return replace(node, entries=(*node.entries, Entry(step, place, new)))
        grown = _graft(below, steps, depth + 1, new, place)
        entries = tuple(replace(e, node=grown) if e.key == step else e for e in node.entries)
        return replace(node, entries=entries)
    if isinstance(node, SequenceNode):
        index = _index(node.items, step)
        if index is None:
            names = [item_name(item) or str(i) for i, item in enumerate(node.items)]
            raise _dead_end(steps, depth, names, place)
        grown = _graft(node.items[index], steps, depth + 1, new, place)
        return replace(node, items=(*node.items[:index], grown, *node.items[index + 1 :]))
    raise _dead_end(steps, depth, (), place)


def _dead_end(
    steps: list[str], depth: int, siblings: Iterable[str], place: Place
) -> OptionError | SpecError:
    above = f"'{'.'.join(steps[:depth])}'" if depth else "the spec"
    problem = place.problem(
        f"{above} has no '{steps[depth]}'", hint=did_you_mean(steps[depth], siblings)
    )
    return SpecError(problem) if place.option is None else OptionError(problem)


def _missing_file(path: Path, name: str) -> Problem:
    folder = path.parent
    if not folder.is_dir():
        return Problem(f"no such file: there is no folder '{folder}'", name)
    try:
        beside = [p.name for p in folder.iterdir() if p.suffix in YAML_SUFFIXES]
    except OSError:  # a folder that may be entered but not listed offers no suggestion
        beside = []
    return Problem("no such file", name, hint=did_you_mean(path.name, beside))
