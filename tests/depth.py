"""How much of a random test runs: a share by default, all of it with ``pytest --deep``."""

from __future__ import annotations

__all__ = ["examples", "set_deep"]

_LEAST, _SHARE = 20, 5
_state = {"deep": False}


def set_deep(*, deep: bool) -> None:
    """Called once, before tests are collected."""
    _state["deep"] = deep


def examples(most: int) -> int:
    """Examples to draw of a test that draws ``most`` at full depth."""
    return most if _state["deep"] else min(most, max(_LEAST, most // _SHARE))
