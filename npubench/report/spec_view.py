"""What `npubench show` says of a hardware spec: its knobs, and every quantity with its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from npubench import units
from npubench.machines.hosting import Member
from npubench.machines.protocol import MachineInfo
from npubench.report.placement_view import members_table
from npubench.report.run_view import origin
from npubench.report.table import Table, View, label
from npubench.report.text import plural
from npubench.specs.header import KNOBS, SpecHeader
from npubench.specs.loader import SpecDocument, is_quantity
from npubench.specs.tree import MappingNode, Node, ScalarNode, SequenceNode, item_name
from npubench.units import engineering, significant

__all__ = ["spec_facts", "spec_view"]

_Quantity = tuple[str, str, str, str]


def spec_view(
    document: SpecDocument, header: SpecHeader, info: MachineInfo, members: Sequence[Member] = ()
) -> View:
    """A spec with its knobs applied.

    Args:
        document: the spec.
        header: its head.
        info: what the machine built from it says of itself.
        members: the NPUs of a system.
    """
    quantities = tuple(
        row
        for entry in document.root.entries
        if entry.key != KNOBS
        for row in _quantities(entry.key, entry.node)
    )
    record = Table(
        "",
        (
            label("path", "Constant", "shorten"),
            label("value", "Value"),
            label("confidence", "Confidence"),
            label("source", "Source", "wrap"),
        ),
        quantities,
    )
    origins = Table(
        "",
        (*record.columns[:2], label("origin", "Origin", "wrap")),
        tuple((path, value, origin(how, source)) for path, value, how, source in quantities),
    )
    tables = (_knob_table(document, header), origins) if header.knobs else (origins,)
    if members:
        tables = (members_table(members), *tables)
    counts = Counter(confidence for _, _, confidence, _ in quantities)
    tally = ", ".join(f"{count} {confidence}" for confidence, count in counts.most_common())
    return View(
        title=f"{header.name} ({header.family}): {header.title}",
        tables=tables,
        record=record,
        notes=(
            _machine_note(info),
            *_part_notes(info),
            f"Names: {', '.join((header.name, *header.aliases))}. File {document.path}, "
            f"sha256 {info.sha256[:8]}.",
            f"Source: {header.citation}",
            *(f"Note: {note}" for note in header.notes),
            f"{plural(len(quantities), 'constant')}: {tally}.",
        ),
    )


def spec_facts(
    document: SpecDocument, header: SpecHeader, info: MachineInfo, members: Sequence[Member] = ()
) -> dict[str, Any]:
    """The same for machines, constants apart."""
    return {
        "name": header.name,
        "aliases": list(header.aliases),
        "family": header.family,
        "title": header.title,
        "citation": header.citation,
        "file": document.path,
        "sha256": info.sha256,
        "node_nm": info.node_nm,
        "area_mm2": info.area_mm2,
        "areas_mm2": dict(info.areas_mm2),
        "leakages_w": dict(info.leakages_w),
        "clock_hz": info.clock_hz,
        "peak_macs_per_s": info.peak_macs_per_s,
        "formats": [str(form) for form in info.formats],
        "default_precision": str(info.default_precision),
        "knobs": dict(info.knobs),
        "npus": [
            {"name": m.name, "spec": m.spec, "modes": [mode.name for mode in m.modes]}
            for m in members
        ],
    }


def _knob_table(document: SpecDocument, header: SpecHeader) -> Table:
    rows = tuple(
        (
            name,
            document.knobs.get(name),
            knob.range or ", ".join(str(value) for value in knob.values),
            ", ".join(knob.path),
            knob.help,
        )
        for name, knob in header.knobs.items()
    )
    columns = (
        label("knob", "Knob"),
        label("value", "Value"),
        label("range", "Range", "wrap"),
        label("path", "Sets", "shorten"),
        label("help", "Help", "wrap"),
    )
    return Table("", columns, rows)


def _machine_note(info: MachineInfo) -> str:
    node = f"{info.node_nm:g} nm, " if info.node_nm is not None else ""
    area = f"{significant(info.area_mm2)} mm2, " if info.area_mm2 is not None else ""
    formats = ", ".join(str(form) for form in info.formats)
    return (
        f"{node}{area}clock {engineering(info.clock_hz, 'Hz')}, peak "
        f"{engineering(2 * info.peak_macs_per_s, 'OPS')} at {info.default_precision} "
        f"(the default; 2 operations per MAC). Formats: {formats}."
    )


def _part_notes(info: MachineInfo) -> tuple[str, ...]:
    """Area and leakage by part, where there is more than one number to tell."""
    notes = []
    for what, parts, unit in (("Area", info.areas_mm2, "mm2"), ("Leakage", info.leakages_w, "W")):
        if len(parts) > 1:
            shown = (
                f"{name.replace('_', ' ')} {significant(value)} {unit}"
                if unit == "mm2"
                else f"{name.replace('_', ' ')} {engineering(value, unit)}"
                for name, value in parts.items()
            )
            notes.append(f"{what} by part: {', '.join(shown)}.")
    return tuple(notes)


def _quantities(road: str, node: Node) -> Iterator[_Quantity]:
    """Every quantity below a node: (path, value, confidence, source)."""
    if isinstance(node, ScalarNode):
        if _is_measure(node):
            yield road, node.text, "assumed", ""
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.items):
            yield from _quantities(f"{road}.{item_name(item) or index}", item)
    elif is_quantity(node):
        source = _text(node, "source")
        # The loader's own rule: a figure with a source is published unless it says otherwise.
        confidence = _text(node, "confidence") or ("published" if source else "assumed")
        yield road, _text(node, "value"), confidence, source
    else:
        for entry in node.entries:
            yield from _quantities(f"{road}.{entry.key}", entry.node)


def _text(node: MappingNode, key: str) -> str:
    found = node.get(key)
    return found.text if isinstance(found, ScalarNode) else ""


def _is_measure(node: ScalarNode) -> bool:
    """Whether an unquoted text is a number with a unit; plain numbers are sizes, not constants."""
    if node.quoted:
        return False
    try:
        return bool(units.parse_any(node.text).unit)
    except units.UnitError:
        return False
