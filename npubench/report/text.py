"""Text from outside, made safe to print: no control characters, no layout tricks, no lost ends."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len, set_cell_size

__all__ = ["ascii_only", "bar", "clean", "plural", "shorten_end", "shorten_middle", "wrapped"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_ASCII = str.maketrans(
    {"─": "-", "█": "#", "…": "~"} | dict.fromkeys("▏▎▍", "") | dict.fromkeys("▌▋▊▉", "#")
)


def clean(text: str) -> str:
    """``text`` on one line, each control or invisible character as its escape (``\\x1b``).

    Names come from model files. An escape sequence in one must not reach the terminal, nor a
    newline break a table.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def shorten_middle(text: str, width: int) -> str:
    """``text`` in at most ``width`` terminal cells, the middle replaced by an ellipsis.

    Mostly the tail is kept: it tells layers apart, while they share their outer scopes.
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail_cells = (width - 1) * 4 // 5
    head = set_cell_size(text, width - 1 - tail_cells)
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > tail_cells:
            break
        tail = character + tail
    return f"{head}…{tail}"


def shorten_end(text: str, width: int) -> str:
    """``text`` in at most ``width`` terminal cells, the end replaced by an ellipsis."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(width - 1, 0)).rstrip()}…"


def wrapped(text: str, width: int, indent: str = "") -> str:
    """``text`` filled to ``width`` columns; lines after the first start with ``indent``."""
    return textwrap.fill(text, max(width, 20), subsequent_indent=indent, break_on_hyphens=False)


def bar(share: float, cells: int) -> str:
    """A horizontal bar of ``share`` (0 to 1, clamped) of ``cells`` terminal cells."""
    eighths = round(max(0.0, min(share, 1.0)) * cells * 8)
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def ascii_only(text: str) -> str:
    """The few signs of our own outside ASCII replaced, for terminals that cannot show them."""
    return text.translate(_ASCII)


def plural(count: int, noun: str, several: str | None = None) -> str:
    """``1 layer``, ``2 layers``; or ``several`` where an s does not make it."""
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"
