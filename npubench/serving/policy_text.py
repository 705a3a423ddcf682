"""Policies as text, such as ``stimpack:switch_at=layer,margin=0.2`` or ``static:resnet50=npu0``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.serving.policy import Policy, named_policy

__all__ = ["parse_policy"]

_LIST: Final = "+"


def _number(text: str) -> float:
    """A plain number, or a share in percent."""
    percent = text.endswith("%")
    value = float(text.removesuffix("%"))
    if not math.isfinite(value):
        raise ValueError(text)
    return value / 100 if percent else value


def _truth(text: str) -> bool:
    return {"yes": True, "no": False, "true": True, "false": False}[text.lower()]


_CHOICES: Final = MappingProxyType(
    {
        field: get_args(hint)
        for field, hint in get_type_hints(Policy).items()
        if field in ("order", "placement", "modes", "switch_at")
    }
)
_READERS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = MappingProxyType(
    {
        "mode": (str, "a mode"),
        "allowed_modes": (lambda text: tuple(text.split(_LIST)), "modes joined by +"),
        "accuracy_drop": (_number, "a number of points such as 0.5"),
        "preempt": (_truth, "yes or no"),
        "margin": (_number, "a share of the bound such as 0.1 or 10%"),
        "threshold": (int, "a whole number"),
    }
)


def parse_policy(text: str, option: str = "--policy") -> Policy:
    """The policy of ``NAME[:FIELD=VALUE[,FIELD=VALUE]]``; its name is the text.

    Fields are those of `Policy`; of ``static``, names of networks with the NPU of each.

    Raises:
        OptionError: an unknown name, fields that do not exist, values that make no sense, or
            fields that contradict each other.
    """
    name, colon, listing = (part.strip() for part in text.partition(":"))
    settings: dict[str, Any] = {}
    assignment: dict[str, str] = {}
    problems: list[Problem] = []
    for part in listing.split(",") if colon else ():
        field, equals, value = (piece.strip() for piece in part.partition("="))
        if not (field and equals and value):
            problems.append(Problem(f"{option} '{text}': expected FIELD=VALUE, got '{part}'"))
        elif field in settings or field in assignment:
            problems.append(Problem(f"{option} '{text}': '{field}' is given twice"))
        elif field in _CHOICES or field in _READERS:
            try:
                settings[field] = _value(field, value)
            except (ValueError, KeyError):
                expected, hint = _expected(field, value)
                problems.append(
                    Problem(
                        f"{option} '{text}': {field}: expected {expected}, got '{value}'", hint=hint
                    )
                )
        elif name.lower() == "static":
            assignment[field] = value
        else:
            hint = did_you_mean(field, (*_CHOICES, *_READERS), listed=len(_CHOICES) + len(_READERS))
            problems.append(Problem(f"{option} '{text}': a policy has no '{field}'", hint=hint))
    if problems:
        raise OptionError(*problems)
    if assignment:
        settings["assignment"] = MappingProxyType(assignment)
    try:
        policy = named_policy(name, **settings)
    except InputError as error:
        raise OptionError(
            *(Problem(f"{option} '{text}': {p.message}", hint=p.hint) for p in error.problems)
        ) from None
    return replace(policy, name=text.strip())


def _value(field: str, text: str) -> Any:
    if field in _CHOICES:
        folded = text.lower().replace("-", "_")
        if folded not in _CHOICES[field]:
            raise ValueError(text)
        return folded
    return _READERS[field][0](text)


def _expected(field: str, text: str) -> tuple[str, str | None]:
    if field in _CHOICES:
        return f"one of {', '.join(_CHOICES[field])}", did_you_mean(text, _CHOICES[field])
    return _READERS[field][1], None
