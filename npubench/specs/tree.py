"""YAML text to a tree of nodes that know their place; the only module that calls the YAML library.

Scalars keep the text they were written with: PyYAML's own guesses (``010`` is 8, ``16:30`` is 990,
``no`` is false, ``1e9`` is text) never take part. The tree is built from parser events on a stack,
so hostile nesting costs neither recursion nor memory. Every mistake of a file is collected before
anything is raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self, TypeAlias

import yaml

from npubench.errors import Problem, SpecError

__all__ = [
    "INTEGER",
    "MAX_BYTES",
    "MAX_DEPTH",
    "Entry",
    "MappingNode",
    "Node",
    "Place",
    "Plain",
    "ScalarNode",
    "SequenceNode",
    "item_name",
    "parse_tree",
    "plain",
    "spec_error",
]

MAX_BYTES: Final = 2**20
MAX_DEPTH: Final = 32
_MOST_PROBLEMS: Final = 50

INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
# What YAML 1.1 section 5.1 calls non-printable; a lone surrogate comes from the command line.
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)

Plain: TypeAlias = "str | int | float | bool | tuple[Plain, ...] | dict[str, Plain] | None"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node was written: file, line and column from 1, or the option that set it."""

    file: str | None
    line: int = 1
    column: int = 1
    option: str | None = None

    def problem(self, message: str, hint: str | None = None, road: str = "") -> Problem:
        """A mistake at this place; ``road`` is the dotted path to it."""
        if self.option is not None:
            return Problem(f"{self.option}: {message}", hint=hint)
        text = f"{road}: {message}" if road else message
        return Problem(text, self.file, self.line, self.column, hint)


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A single value as text; ``quoted`` text is never a number, a truth value or nothing."""

    text: str
    quoted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, the place of the key, and its value."""

    key: str
    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys and values in the order of the file; keys are unique."""

    entries: tuple[Entry, ...]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of a key, or None without it."""
        for entry in self.entries:  # a loop: specs are walked for every point of a sweep
            if entry.key == key:
                return entry.node
        return None

    def keys(self) -> tuple[str, ...]:
        """The keys in the order of the file."""
        return tuple(entry.key for entry in self.entries)


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def plain(node: Node) -> Plain:
    """The tree as Python values: dict, tuple, and scalars by our own rules.

    Unquoted ``12`` is an int, ``0.5`` and ``1e-12`` are floats, ``true`` and ``false`` are bools,
    ``null``, ``~`` and nothing are None; all else, ``010``, ``1_000``, ``yes``, ``nan`` or
    ``0.1 pJ``, is text for the field's own parser.
    """
    if isinstance(node, ScalarNode):
        return node.text if node.quoted else _plain_scalar(node.text)
    if isinstance(node, MappingNode):
        return {entry.key: plain(entry.node) for entry in node.entries}
    return tuple(plain(item) for item in node.items)


@lru_cache(maxsize=4096)
def _plain_scalar(text: str) -> str | int | float | bool | None:
    """Unquoted text as a value. Remembered: the points of a sweep repeat nearly all of a spec."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(value := _Written(text)):
        return value
    return text


class _Written(float):
    """A number that a message shows as it was written: ``1e3``, not ``1000.0``."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __str__(self) -> str:
        return self.text


def item_name(item: Node) -> str | None:
    """The ``name`` by which an item of a list is addressed, if it has one."""
    name = item.get("name") if isinstance(item, MappingNode) else None
    return name.text if isinstance(name, ScalarNode) and name.text else None


def spec_error(problems: Iterable[Problem]) -> SpecError:
    """One error with all problems in the order of the file, cut after the first fifty."""
    found = sorted(problems, key=lambda p: (p.line or 0, p.column or 0))
    if len(found) > _MOST_PROBLEMS:
        more = Problem(f"and {len(found) - _MOST_PROBLEMS} more mistakes", found[0].file)
        found = [*found[:_MOST_PROBLEMS], more]
    return SpecError(*found)


def parse_tree(data: bytes | str, file: str | None, option: str | None = None) -> Node:
    """Read one YAML document.

    Args:
        data: the content; bytes must be UTF-8.
        file: its name in messages.
        option: the command-line option that the text came from, in place of a file.

    Raises:
        SpecError: every mistake found, each at its line and column: syntax, duplicate keys, keys
            that are not plain text, anchors, aliases, merge keys, tags, several documents, none,
            nesting beyond `MAX_DEPTH`, more than `MAX_BYTES`.
    """
    start = Place(file, option=option)
    text = _decode(data, start)
    odd = _UNPRINTABLE.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + 1
        column = odd.start() - text.rfind("\n", 0, odd.start())
        place = Place(file, line, column, option)
        raise SpecError(place.problem(f"character U+{ord(odd[0]):04X} is not allowed"))
    builder = _build(text, yaml.CSafeLoader, file, option)
    if builder.gave_up:
        # The C parser reads ahead and has a limit of its own, before our builder meets ours; the
        # slower one has none, and is stopped by the builder after `MAX_DEPTH` levels.
        builder = _build(text, yaml.SafeLoader, file, option)
    if builder.problems:
        raise spec_error(builder.problems)
    root = builder.root
    if root is None or (isinstance(root, ScalarNode) and not root.text and not root.quoted):
        raise SpecError(start.problem("the file is empty" if option is None else "no value given"))
    return root


def _build(
    text: str,
    loader: type[yaml.SafeLoader | yaml.CSafeLoader],
    file: str | None,
    option: str | None,
) -> _Builder:
    builder = _Builder(file, option)
    try:
        for event in yaml.parse(text, Loader=loader):
            if not builder.take(event):
                break
    except yaml.MarkedYAMLError as error:
        builder.gave_up = "maximum nesting depth" in (error.problem or "")
        builder.problems.append(_syntax_problem(error, text, builder))
    return builder


def _decode(data: bytes | str, start: Place) -> str:
    size = len(data)
    if size > MAX_BYTES:
        raise SpecError(start.problem(f"larger than {MAX_BYTES // 2**20} MiB, not a spec file"))
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        place = Place(start.file, line, column)
        raise SpecError(place.problem(f"not UTF-8 text: byte 0x{data[error.start]:02X}")) from None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, builder: _Builder) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    what = error.problem or "syntax error"
    hint = None
    lines = text.splitlines()
    if "cannot start any token" in what and line < len(lines) and "\t" in lines[line]:
        hint = "indent with spaces, not with tabs"
    elif "mapping values are not allowed" in what:
        hint = "text that contains ': ' needs quotes"
    context = f" {error.context}" if error.context else ""
    place = Place(builder.file, line + 1, column + 1, builder.option)
    return place.problem(f"not valid YAML: {what}{context}", hint)


class _Open:
    """A list or mapping whose end has not been read yet."""

    __slots__ = ("children", "entries", "is_mapping", "key", "key_place", "place", "seen")

    def __init__(self, place: Place, *, is_mapping: bool) -> None:
        self.place = place
        self.is_mapping = is_mapping
        self.children: list[Node] = []
        self.entries: list[Entry] = []
        self.seen: dict[str, Place] = {}
        self.key: str | None = None
        self.key_place = place

    def close(self) -> Node:
        if self.is_mapping:
            return MappingNode(tuple(self.entries), self.place)
        return SequenceNode(tuple(self.children), self.place)


class _Builder:
    """Makes nodes of parser events; lives for one document."""

    def __init__(self, file: str | None, option: str | None) -> None:
        self.file = file
        self.option = option
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.gave_up = False  # the parser refused the nesting before the builder could
        self._stack: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> bool:
        """Add one event; False when there is no point in reading on."""
        place = self._place(event)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(place, "a second document begins here; one file holds one")
                return False
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(place, f"alias '*{event.anchor}' is not allowed; write the value again")
            self._add(ScalarNode("", quoted=False, place=place))
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            return self._take_node(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(self._stack.pop().close())
        return True

    def _take_node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, place: Place) -> bool:
        if event.anchor is not None:
            self._refuse(place, f"anchor '&{event.anchor}' is not allowed; write the value again")
        if event.tag is not None:
            hint = "to make a value text, quote it"
            self._refuse(place, f"tag '{event.tag}' is not allowed", hint)
        if isinstance(event, yaml.ScalarEvent):
            self._add(ScalarNode(event.value, quoted=not event.implicit[0], place=place))
            return True
        if len(self._stack) == MAX_DEPTH:
            self.problems.append(place.problem(f"nested deeper than {MAX_DEPTH} levels"))
            return False
        self._stack.append(_Open(place, is_mapping=isinstance(event, yaml.MappingStartEvent)))
        return True

    def _add(self, node: Node) -> None:
        """Hand a finished node to whatever is open around it."""
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if not parent.is_mapping:
            parent.children.append(node)
        elif parent.key is None:
            parent.key = self._key(node, parent)
            parent.key_place = node.place
        else:
            if parent.key not in parent.seen:
                parent.seen[parent.key] = parent.key_place
                parent.entries.append(Entry(parent.key, parent.key_place, node))
            parent.key = None

    def _key(self, node: Node, parent: _Open) -> str:
        if not isinstance(node, ScalarNode) or not node.text:
            self._refuse(node.place, "a key must be plain text")
            return ""
        if node.text == "<<":
            self._refuse(node.place, "merge key '<<' is not allowed; write the keys again")
        elif node.text in parent.seen:
            first = parent.seen[node.text]
            self._refuse(node.place, f"key '{node.text}' is already given on line {first.line}")
        return node.text

    def _refuse(self, place: Place, message: str, hint: str | None = None) -> None:
        steps = (
            level.key if level.is_mapping else str(len(level.children)) for level in self._stack
        )
        road = ".".join(step for step in steps if step)
        self.problems.append(place.problem(message, hint, road))

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        if mark is None:
            return Place(self.file, option=self.option)
        return Place(self.file, mark.line + 1, mark.column + 1, self.option)
