"""What every hardware spec says of itself, and the knobs it offers on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from npubench import units
from npubench.errors import OptionError, Problem, did_you_mean
from npubench.specs.loader import SpecDocument, find_node, graft, is_quantity
from npubench.specs.modes import ModeSpec, SchedulerSpec
from npubench.specs.quantity import NodeLength, Refused, SpecModel, refusal
from npubench.specs.tree import MappingNode, Node, Place, ScalarNode, SequenceNode, spec_error

__all__ = [
    "KNOBS",
    "Knob",
    "SpecHeader",
    "apply_knobs",
    "knob_corners",
    "read_header",
    "turn_knobs",
]


def _one_or_more(given: object) -> object:
    return (given,) if isinstance(given, str) else given


def _check_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is None:
        raise ValueError(f"expected letters, digits, '-' and '_', got {units.quoted(name)}")
    return name


Name: TypeAlias = Annotated[str, AfterValidator(_check_name)]
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
_Scalar: TypeAlias = str | int | float | bool

KNOBS: Final = "knobs"


def _as_written(value: _Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Knob(SpecModel):
    """One setting that a spec offers to ``--knob`` and ``--axis``.

    Either `path` names the fields that take the given value, bounded by `range` or `values`; or
    `values` maps each name that may be given to the fields it sets.

    Attributes:
        path: dotted path, or a list of them.
        values: the values allowed; or name to {dotted path: value}.
        default: what holds when the user says nothing; without it, what the spec says.
        range: valid range, ``0.7..1.2 GHz``; a bare number given takes its unit.
        help: one line for the user.
        source: where the range is from.
    """

    path: Texts = ()
    values: tuple[_Scalar, ...] | dict[str, dict[str, Any]] = ()
    default: _Scalar | None = None
    range: str | None = None
    help: str = ""
    source: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Knob:
        wrong: list[Refused] = []
        if isinstance(self.values, dict):
            if self.path:
                wrong.append((("path",), "goes with a list of values, not with a mapping", None))
        elif not self.path:
            wrong.append(((), "missing key 'path' (or a mapping of 'values')", None))
        if self.range is not None:
            if self.values:
                wrong.append((("range",), "give either 'range' or 'values'", None))
            try:
                units.parse_range(self.range)
            except units.UnitError as error:
                wrong.append((("range",), error.message, error.hint))
        if "values" in self.model_fields_set and not self.values:
            wrong.append((("values",), "needs at least one value", None))
        names = [_as_written(value) for value in self.values]
        if self.default is not None and names and _as_written(self.default) not in names:
            message = f"default '{_as_written(self.default)}' is not one of {', '.join(names)}"
            wrong.append((("default",), message, None))
        if wrong:
            raise refusal(*wrong)
        return self


class SpecHeader(SpecModel):
    """The fields that every hardware spec has; a family's schema inherits from it.

    Attributes:
        name: what results call the design.
        aliases: further names on the command line; ``-`` is ``_`` and case does not matter.
        family: which machine family reads the rest.
        title: one line.
        citation: where the design was published.
        node: technology node; None where the design states none.
        notes: what a reader of results should know, one paragraph each.
        knobs: settings offered on the command line.
        modes: ways to run it, by name, the base mode first; empty for one.
        scheduler: how requests are served unless the user names a policy.
    """

    name: Name
    aliases: tuple[Name, ...] = ()
    family: Name
    title: str
    citation: str
    node: NodeLength | None = None
    notes: Texts = ()
    knobs: dict[str, Knob] = Field(default_factory=dict)
    modes: dict[Name, ModeSpec] = Field(default_factory=dict)
    scheduler: SchedulerSpec | None = None

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if not title.strip() or "\n" in title.strip():
            raise ValueError("expected one line of text")
        return title.strip()

    @model_validator(mode="after")
    def _modes_set_knobs(self) -> SpecHeader:
        wrong: list[Refused] = [
            (
                ("modes", mode, "knobs", knob),
                f"the spec has no knob '{knob}'",
                did_you_mean(knob, self.knobs),
            )
            for mode, spec in self.modes.items()
            for knob in spec.knobs
            if knob not in self.knobs
        ]
        if wrong:
            raise refusal(*wrong)
        return self


def read_header(document: SpecDocument) -> SpecHeader:
    """The header of a spec whose family is not known yet; other keys are left for the family.

    Raises:
        SpecError: mistakes in the header.
    """
    return document.validate_part(SpecHeader)


def apply_knobs(
    document: SpecDocument, settings: Mapping[str, str], option: str = "--knob"
) -> SpecDocument:
    """The document with knobs set as asked and the others at their defaults.

    Args:
        document: a hardware spec.
        settings: knob to value as the user wrote it; a bare number takes the unit of the knob's
            range, else of the field. Empty applies the defaults alone.
        option: the command-line option, for messages.

    Returns:
        A new document; its ``settings`` list every knob in force.

    Raises:
        OptionError: unknown knobs, values outside the valid range or set; all of them at once.
        SpecError: mistakes in the spec's own knobs.
    """
    knobs = read_header(document).knobs
    wrong = [
        _unknown_knob(name, text, knobs, option)
        for name, text in settings.items()
        if name not in knobs
    ]
    applied = document
    for name, knob in knobs.items():
        _check_paths(document, name, knob)
        text = settings.get(name, _default_text(document, name))
        if text is None:
            continue
        label = f"{option} {name}={text}" if name in settings else f"knob {name}={text}"
        try:
            applied = _turn(applied, name, knob, text, label)
        except OptionError as error:
            wrong.extend(error.problems)
    if wrong:
        raise OptionError(*wrong)
    in_force = (
        (name, _text_in_force(applied, name, knob, settings)) for name, knob in knobs.items()
    )
    return replace(applied, settings=tuple((name, text) for name, text in in_force if text))


def turn_knobs(document: SpecDocument, settings: Mapping[str, str], option: str) -> SpecDocument:
    """The document with some of its knobs set; the others stay as they are in force.

    Args:
        document: one that `apply_knobs` gave, overrides included.
        settings: knob to value; knobs of the spec.
        option: what sets them, for messages.

    Raises:
        OptionError: values outside the valid range or set; all of them at once.
    """
    knobs = read_header(document).knobs
    wrong: list[Problem] = []
    turned = document
    for name, text in settings.items():
        try:
            turned = _turn(turned, name, knobs[name], text, f"{option} {name}={text}")
        except OptionError as error:
            wrong.extend(error.problems)
    if wrong:
        raise OptionError(*wrong)
    given = {**document.knobs, **settings}
    in_force = ((name, _text_in_force(turned, name, knob, given)) for name, knob in knobs.items())
    return replace(turned, settings=tuple((name, text) for name, text in in_force if text))


def knob_corners(document: SpecDocument) -> Iterator[dict[str, str]]:
    """Settings that reach every end of every knob, one knob at a time; for checking a spec."""
    yield {}
    for name, knob in read_header(document).knobs.items():
        if knob.range is not None:
            low, _, high = knob.range.partition("..")
            yield {name: low.strip()}
            yield {name: high.strip()}
        for text in _allowed(document, name):
            yield {name: text}


def _unknown_knob(name: str, text: str, knobs: Mapping[str, Knob], option: str) -> Problem:
    hint = did_you_mean(name, knobs)
    if hint is None:
        hint = "the spec has no knobs; --set path=value changes any field"
    return Problem(f"{option} {name}={text}: unknown knob '{name}'", hint=hint)


def _knob_node(document: SpecDocument, name: str, key: str) -> Node | None:
    return find_node(document.root, [KNOBS, name, key])


def _default_text(document: SpecDocument, name: str) -> str | None:
    node = _knob_node(document, name, "default")
    return node.text if isinstance(node, ScalarNode) else None


def _allowed(document: SpecDocument, name: str) -> tuple[str, ...]:
    """The values a knob allows by name, as the file writes them; empty when it bounds a range."""
    values = _knob_node(document, name, "values")
    if isinstance(values, MappingNode):
        return values.keys()
    if isinstance(values, SequenceNode):
        return tuple(item.text for item in values.items if isinstance(item, ScalarNode))
    return ()


def _check_paths(document: SpecDocument, name: str, knob: Knob) -> None:
    wrong = []
    for path in knob.path:
        if find_node(document.root, path.split(".")) is None:
            node = _knob_node(document, name, "path")
            place = document.root.place if node is None else node.place
            road = f"{KNOBS}.{name}.path"
            wrong.append(place.problem(f"the spec has no '{path}'", road=road))
    if wrong:
        raise spec_error(wrong)


def _turn(document: SpecDocument, name: str, knob: Knob, text: str, label: str) -> SpecDocument:
    """One knob set; raises OptionError."""
    allowed = _allowed(document, name)
    if allowed and text not in allowed:
        hint = did_you_mean(text, allowed)
        raise OptionError(Problem(f"{label}: expected one of {', '.join(allowed)}", hint=hint))
    values = _knob_node(document, name, "values")
    if isinstance(values, MappingNode):
        chosen = values.get(text)
        root = document.root
        for entry in chosen.entries if isinstance(chosen, MappingNode) else ():
            root = graft(root, entry.key.split("."), entry.node, entry.place)
        return replace(document, root=root)
    text = _with_unit(document, knob, text)
    if knob.range is not None:
        _check_range(knob, text, label)
    for path in knob.path:
        node = ScalarNode(text, quoted=False, place=Place(None, option=label))
        document = document.put(path, node)
    return document


def _with_unit(document: SpecDocument, knob: Knob, text: str) -> str:
    """The text with the unit of the range or the field, where the user gave a bare number."""
    reference = knob.range.split("..")[-1] if knob.range else _field_text(document, knob.path[0])
    try:
        given, unit = units.parse_any(text), units.parse_any(reference or "").unit
    except units.UnitError:
        return text
    return f"{text.strip()} {unit}" if unit and not given.unit else text


def _check_range(knob: Knob, text: str, label: str) -> None:
    low, high = units.parse_range(knob.range or "")
    try:
        value = units.parse(text, high.dimension)
    except units.UnitError as error:
        raise OptionError(Problem(f"{label}: {error.message}", hint=error.hint)) from None
    if not low.value <= value <= high.value:
        hint = f"source of the range: {knob.source}" if knob.source else None
        message = f"{label}: outside the valid range {knob.range}"
        raise OptionError(Problem(message, hint=hint))


def _field_text(document: SpecDocument, path: str) -> str | None:
    """The single value at a path, or of the quantity there, as written."""
    node = find_node(document.root, path.split("."))
    if isinstance(node, MappingNode) and is_quantity(node):
        node = node.get("value")
    return node.text if isinstance(node, ScalarNode) else None


def _text_in_force(
    document: SpecDocument, name: str, knob: Knob, settings: Mapping[str, str]
) -> str | None:
    if knob.path:
        return _field_text(document, knob.path[0])
    return settings.get(name, _default_text(document, name))
