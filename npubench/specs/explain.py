"""pydantic's errors in npubench's words, each at the place in the file where the mistake stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from npubench.errors import Problem, did_you_mean
from npubench.specs.quantity import REFUSAL, shown
from npubench.specs.tree import (
    MappingNode,
    Node,
    Place,
    ScalarNode,
    SequenceNode,
    item_name,
    plain,
)

__all__ = ["explain"]

_EXPECTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "enum": "{expected}",
    "finite_number": "a finite number",
    "float_parsing": "a number such as '0.5' or '1e-3'",
    "float_type": "a number such as '0.5' or '1e-3'",
    "frozen_set_type": "a list",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "literal_error": "{expected}",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "nothing",
    "string_type": "text",
    "tuple_type": "a list",
    "union_tag_invalid": "{expected_tags}",
}
_BOUNDS: Final[Mapping[str, str]] = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
}
_EITHER: Final = re.compile(r"expected (?P<wanted>.*), got (?P<given>.*)", re.DOTALL)

Road: TypeAlias = tuple[str, ...]


def explain(error: ValidationError, root: Node) -> list[Problem]:
    """Every mistake of a failed validation, once each, in the order pydantic found them."""
    found: dict[tuple[Place, Road], list[tuple[str, str | None]]] = {}
    for detail in error.errors(include_url=False):
        place, road, node = _locate(root, detail)
        if detail["type"] == "too_short" and _length(node) >= detail["ctx"]["min_length"]:
            continue  # pydantic counts sound items only, and the others have been reported
        sentence = _sentence(detail, node)
        sentences = found.setdefault((place, road), [])
        if sentence not in sentences:
            sentences.append(sentence)
    return [
        place.problem(message, hint, ".".join(road))
        for (place, road), sentences in found.items()
        for message, hint in _join_alternatives(sentences)
    ]


def _locate(root: Node, detail: ErrorDetails) -> tuple[Place, Road, Node]:
    """Place, dotted road and node of an error.

    Steps of pydantic's location that are no key of the file (names of union branches) are passed
    over. An unknown key is reported at the key itself and a missing one at the mapping that lacks
    it; neither is part of the road, since the message names it.
    """
    node, place = root, root.place
    road: list[str] = []
    location = detail["loc"]
    if detail["type"] == "union_tag_invalid":
        location = (*location, detail["ctx"]["discriminator"].strip("'"))
    for index, step in enumerate(location):
        last = index == len(location) - 1
        if isinstance(node, MappingNode):
            entry = next((e for e in node.entries if e.key == step), None)
            if entry is None:
                continue
            place = entry.place
            if last and _words(detail).startswith("unknown key"):
                return place, tuple(road), entry.node
            road.append(entry.key)
            node = entry.node
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            road.append(item_name(node) or str(step))
            place = node.place
    if (isinstance(node, ScalarNode) and node.text) or node.place.option is not None:
        place = node.place
    return place, tuple(road), node


def _words(detail: ErrorDetails) -> str:
    """The finished message of an error that one of our own validators raised, else nothing."""
    return str(detail["ctx"]["message"]) if detail["type"] == REFUSAL else ""


def _sentence(detail: ErrorDetails, node: Node) -> tuple[str, str | None]:
    """Message and hint of one error."""
    kind, context = detail["type"], detail.get("ctx", {})
    given = shown(node.text if isinstance(node, ScalarNode) else plain(node))
    if kind == REFUSAL:
        return context["message"], context.get("hint")
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]), None
    if kind == "missing":
        step = detail["loc"][-1]
        what = f"key '{step}'" if isinstance(step, str) else f"item {step + 1} of the list"
        return f"missing {what}", None
    if kind in ("union_tag_not_found", "too_short", "too_long"):
        return _of_collection(kind, context, node), None
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind].format_map(context)}, got {given}", None
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format_map(context)}, got {given}", _hint(
            kind, context, node
        )
    # A type of error that no schema of ours provokes today: pydantic's words are better than none.
    return detail["msg"].replace("Input should be", "expected").replace("valid ", ""), None


def _of_collection(kind: str, context: Mapping[str, Any], node: Node) -> str:
    if kind == "union_tag_not_found":
        return f"missing key {context['discriminator']}"
    bound = "at least" if kind == "too_short" else "at most"
    count = context["min_length" if kind == "too_short" else "max_length"]
    return f"needs {bound} {count} items, got {_length(node)}"


def _length(node: Node) -> int:
    if isinstance(node, MappingNode):
        return len(node.entries)
    return len(node.items) if isinstance(node, SequenceNode) else 0


def _hint(kind: str, context: Mapping[str, Any], node: Node) -> str | None:
    if not isinstance(node, ScalarNode):
        return None
    if kind == "string_type" and node.text:
        return "to make it text, quote it"
    if kind == "int_type" and node.quoted and node.text.isdecimal():
        return "write it without quotes"
    if kind == "int_type" and re.fullmatch(r"-?0[0-9]+|\+[0-9]+|-?[0-9]+[_,][0-9_,]*", node.text):
        return "write digits only, with no leading zero, sign or separator"
    choices = context.get("expected", context.get("expected_tags"))
    if isinstance(choices, str):
        hint = did_you_mean(node.text, re.findall(r"'([^']*)'", choices))
        return hint if hint is not None and hint.startswith("did you mean") else None
    return None


def _join_alternatives(
    sentences: list[tuple[str, str | None]],
) -> Iterable[tuple[str, str | None]]:
    """Branches of a union fail one by one at one place: say 'expected A or B' once."""
    matches = [_EITHER.fullmatch(message) for message, _ in sentences]
    givens = {match["given"] for match in matches if match is not None}
    if len(sentences) < 2 or None in matches or len(givens) != 1:
        return sentences
    wanted = " or ".join(match["wanted"] for match in matches if match is not None)
    hint = next((hint for _, hint in sentences if hint is not None), None)
    return [(f"expected {wanted}, got {givens.pop()}", hint)]
