"""What `npubench run` shows: totals, where time and energy go, the ledger, what is assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from npubench.machines.protocol import OVERLAP, ConstantUse, MappingSearch
from npubench.report.accuracy_view import (
    ACCURACY_KEYS,
    accuracy_record,
    accuracy_source,
    accuracy_table,
)
from npubench.report.columns import TOTALS, totals_columns
from npubench.report.placement_view import placement_note, placement_table
from npubench.report.table import Cell, Column, Table, View, count, fixed, label, quantity, share
from npubench.report.text import bar, plural
from npubench.study.result import Coverage, HardwareStamp, RunResult
from npubench.units import engineering

__all__ = ["constant_notes", "coverage_warnings", "origin", "run_view", "silicon_table"]

_BAR_CELLS = 24
# A constant below this share of the energy does not decide anything; --verbose lists them all.
_MATTERS = 0.01
_UNSURE = frozenset({"assumed", "recalled"})


def run_view(result: RunResult, *, layers: bool = False, verbose: bool = False) -> View:
    """The answer for one network on one machine.

    Args:
        result: what `npubench.study.run` gave.
        layers: a table of every layer, which is then the CSV form too.
        verbose: every constant used, with its source, instead of those that matter only.
    """
    per_layer = _layer_table(result)
    totals = _totals_table(result)
    accuracy = accuracy_table(result.accuracy)
    places = placement_table(result.placement)
    early = (table for table in (accuracy, places) if table is not None)
    tables = [totals, *early, *_breakdowns(result)]
    if result.coverage.approximated.ops or result.coverage.unknown.ops:
        tables.append(_ledger(result.coverage))
    if layers:
        uniform = len({str(layer.precision) for layer in result.layers if layer.precision}) < 2
        # What every row shares is in the headline; cycles are in latency.
        tables.append(per_layer.without("cycles", *(("precision",) if uniform else ())))
    if verbose and result.constants:
        tables.append(_constants_table(result))
    if verbose and (silicon := silicon_table(result.hardware)) is not None:
        tables.append(silicon)
    if verbose and result.search is not None:
        tables.append(_search_table(result.search))
    return View(
        title=_headline(result),
        tables=tuple(tables),
        record=per_layer if layers else _record(result),
        notes=_notes(result),
    )


def _headline(result: RunResult) -> str:
    hardware = result.hardware
    node = f", {hardware.node_nm:g} nm" if hardware.node_nm is not None else ""
    return (
        f"{result.workload.name} on {hardware.name} ({hardware.family}{node}): "
        f"{result.precision_summary[1]}, batch {result.options.batch}, "
        f"{engineering(result.workload.macs, 'MAC')}"
    )


def _totals_table(result: RunResult) -> Table:
    columns = totals_columns([result.totals])
    return Table("", columns, (tuple(getattr(result.totals, c.key) for c in columns),))


def _record(result: RunResult) -> Table:
    stamps: dict[str, Cell] = {
        "workload": result.workload.name,
        "hardware": result.hardware.name,
        "precision": result.precision_summary[1],
        "batch": result.options.batch,
        "node_nm": result.hardware.node_nm,
        "clock_hz": result.clock_hz,
    }
    versions: dict[str, Cell] = {
        "workload_sha256": result.workload.sha256,
        "hardware_sha256": result.hardware.sha256,
        "npubench": result.stamp.npubench,
    }
    accuracy = dict(zip(ACCURACY_KEYS, accuracy_record(result.accuracy), strict=True))
    totals = {key: getattr(result.totals, key) for key in TOTALS}
    values = {**stamps, **totals, **accuracy, **versions}
    columns = tuple(Column(key, key) for key in values)
    return Table("", columns, (tuple(values.values()),))


def _breakdowns(result: RunResult) -> Iterable[Table]:
    totals = result.totals
    seconds = {c: n / result.clock_hz for c, n in totals.latency_by_cause.items()}
    yield _breakdown("Latency by cause", "latency_s", "s", seconds, totals.latency_s)
    if totals.energy_by_component:
        energy = totals.energy_by_component
        yield _breakdown("Energy by component", "energy_j", "J", energy, totals.energy_j)


def _breakdown(title: str, key: str, unit: str, parts: Mapping[str, float], whole: float) -> Table:
    order = sorted(parts, key=lambda name: (name == OVERLAP, -parts[name], name))
    columns = (
        label("part", title, "shorten", part_name),
        quantity(key, key.partition("_")[0].capitalize(), unit, [whole]),
        share("share", "Share"),
        Column("bar", "", align="left", terminal_only=True),
    )
    shares = {name: parts[name] / whole if whole else None for name in order}
    rows: list[tuple[Cell, ...]] = [
        (name, parts[name], shares[name], bar(shares[name] or 0.0, _BAR_CELLS)) for name in order
    ]
    return Table("", columns, tuple(rows))


def part_name(name: str) -> str:
    """A cause or component as words: ``stall:cmem.weight`` is ``stall: cmem weight``."""
    return name.replace(":", ": ").replace(".", " ").replace("_", " ")


def _ledger(coverage: Coverage) -> Table:
    rank = {"unknown": 0, "approximated": 1, "modelled": 2}
    operators = sorted(coverage.operators, key=lambda o: (rank[o.status], -o.latency_s, o.op))
    macs, size, seconds = (
        sum(getattr(o, key) for o in operators) for key in ("macs", "bytes", "latency_s")
    )
    columns = (
        label("op", "Operator", "shorten"),
        label("status", "Status"),
        fixed("layers", "Layers", 0),
        share("macs_share", "MACs"),
        share("bytes_share", "Bytes"),
        share("time_share", "Time"),
        label("how", "How", "wrap"),
    )
    rows = tuple(
        (
            o.op,
            o.status,
            o.layers,
            # Nobody knows the MACs of an unknown operator: a 0 would say there are none.
            o.macs / macs if macs and o.status != "unknown" else None,
            o.bytes / size if size else None,
            o.latency_s / seconds if seconds else None,
            o.how,
        )
        for o in operators
    )
    return Table("", columns, rows)


def _layer_table(result: RunResult) -> Table:
    seconds = [layer.cycles / result.clock_hz for layer in result.layers]
    causes = _main_parts(result)
    noisy = bool(result.accuracy.sqnr_db)
    rows = tuple(
        (
            layer.name,
            layer.op,
            None if layer.precision is None else str(layer.precision),
            layer.macs if layer.precision is not None else None,
            layer.cycles,
            time,
            layer.energy_j,
            layer.utilization,
            *((result.accuracy.sqnr_db.get(layer.name),) if noisy else ()),
            cause,
        )
        for layer, time, cause in zip(result.layers, seconds, causes, strict=True)
    )
    columns = (
        label("name", "Layer", "shorten"),
        label("op", "Operator", "clip"),
        label("precision", "Prec."),
        count("macs", "MACs", [layer.macs for layer in result.layers]),
        fixed("cycles", "Cycles", 0),
        quantity("latency_s", "Latency", "s", seconds),
        quantity("energy_j", "Energy", "J", [layer.energy_j for layer in result.layers]),
        share("utilization", "Util."),
        *((fixed("sqnr_db", "SQNR", 1, "dB"),) if noisy else ()),
        label(
            "bound", "Bound by", "clip", lambda cause: part_name(cause.partition(":")[2] or cause)
        ),
    )
    return Table("", columns, rows)


def _main_parts(result: RunResult) -> list[str | None]:
    """The largest cause of each layer's latency; the first named wins a tie."""
    return [
        max(layer.latency_by_cause.items(), key=lambda item: item[1])[0] if layer.cycles else None
        for layer in result.layers
    ]


def _constants_table(result: RunResult) -> Table:
    columns = (
        label("path", "Constant", "shorten"),
        label("value", "Value"),
        share("energy_share", "Energy"),
        label("origin", "Origin", "wrap"),
    )
    whole = result.totals.energy_j
    rows = tuple(
        (
            c.path,
            c.text,
            c.energy_j / whole if c.energy_j and whole else None,
            origin(c.confidence, c.source),
        )
        for c in sorted(result.constants, key=lambda c: (-c.energy_j, c.path))
    )
    return Table("", columns, rows)


def silicon_table(hardware: HardwareStamp) -> Table | None:
    """Area and static power by part; None where there is no more to tell than the totals."""
    areas, leakages = hardware.areas_mm2, hardware.leakages_w
    parts = dict.fromkeys((*areas, *leakages))
    if len(parts) < 2:
        return None
    whole = sum(areas.values())
    columns = (
        label("part", "Area by part", "shorten", part_name),
        quantity("area_mm2", "Area", "mm2", list(areas.values())),
        share("area_share", "Share"),
        *((quantity("leakage_w", "Leakage", "W", list(leakages.values())),) if leakages else ()),
    )
    rows = tuple(
        (
            part,
            areas.get(part),
            areas[part] / whole if whole and part in areas else None,
            *((leakages.get(part),) if leakages else ()),
        )
        for part in parts
    )
    return Table("", columns, rows)


def _search_table(search: MappingSearch) -> Table:
    """What the mapping search covered, choice by choice."""
    parts = {
        "considered": search.considered,
        "do not fit": search.too_large,
        "cut by a bound": search.bounded,
        "dominated": search.dominated,
        "left unproven": search.open,
        "inner searches": search.evaluated,
    }
    columns = (
        label("part", f"Mapping search, {plural(search.searched, 'distinct layer')}", "shorten"),
        fixed("choices", "Choices", 0),
    )
    return Table("", columns, tuple(parts.items()))


def origin(confidence: str, source: str) -> str:
    """``published: JSSC 2017``."""
    return f"{confidence}: {source}" if source else confidence


def _notes(result: RunResult) -> tuple[str, ...]:
    requested, executed = result.precision_summary
    asked = executed if requested == executed else f"{requested} requested, {executed} executed"
    batch = result.options.batch
    subject = "one inference" if batch == 1 else f"a batch of {batch}, energy of one inference"
    assumptions = "; ".join(text.rstrip(".") for text in result.assumptions)
    return (
        f"Latency of {subject}, host transfer excluded. EDP = energy x latency, lower is better.",
        f"Precision: {asked}. {_setting(result)}",
        *accuracy_source(result.accuracy),
        *placement_note(result.placement),
        *_search_note(result.search),
        *constant_notes(result.constants, result.totals.energy_j),
        *((f"Assumed: {assumptions}.",) if assumptions else ()),
        f"Model sha256 {result.workload.sha256[:8] or 'none'}, "
        f"spec sha256 {result.hardware.sha256[:8] or 'none'}, npubench {result.stamp.npubench}.",
    )


def _search_note(search: MappingSearch | None) -> tuple[str, ...]:
    """For what the layers were mapped, and how far the mapping is proven."""
    if search is None:
        return ()
    proven = "all" if search.proven == search.layers else f"{search.proven} of {search.layers}"
    return (
        f"Mapped for {search.objective}, layer by layer: {search.considered:,} choices for "
        f"{plural(search.searched, 'distinct layer')}; {proven} proven the best of the space.",
    )


def _setting(result: RunResult) -> str:
    """Clock, knobs and the bandwidth of the memories off the chip: what figures depend on most."""
    knobs = dict(result.hardware.knobs)
    clock = {} if "clock" in knobs else {"clock": engineering(result.clock_hz, "Hz")}
    memories = {
        c.path.split(".")[-2]: c.text
        for c in result.constants
        if c.path.count(".") and c.path.endswith(".bandwidth")
    }
    parts = ", ".join(f"{name} {text}" for name, text in (clock | knobs | memories).items())
    return f"{parts[0].upper()}{parts[1:]}."


def constant_notes(
    constants: Iterable[ConstantUse], energy_j: float, named: int = 8
) -> tuple[str, ...]:
    """How much of the energy rests on guesses, and on which: those above 1 % of it, by name.

    Args:
        constants: those the machine used.
        energy_j: the energy their ``energy_j`` are parts of.
        named: how many to name at most.
    """
    unsure = sorted(
        (c for c in constants if c.confidence in _UNSURE and c.energy_j > 0),
        key=lambda c: (-c.energy_j, c.path),
    )
    if not unsure or not energy_j:
        return ()
    # Joules may be proportional to two constants at once, so the sum can pass the whole.
    total = min(sum(c.energy_j for c in unsure) / energy_j, 1.0)
    shown = [c for c in unsure if c.energy_j / energy_j > _MATTERS][:named]
    if not shown:
        return (
            f"Assumed or recalled constants carry {total:.1%} of the energy, "
            "none of them more than 1 %.",
        )
    listing = "; ".join(
        f"{c.path} {c.text} ({c.confidence}, {c.energy_j / energy_j:.0%})" for c in shown
    )
    rest = len(unsure) - len(shown)
    others = f"; and {plural(rest, 'smaller one')}" if rest else ""
    return (
        f"~ {total:.0%} of the energy rests on assumed or recalled constants: {listing}{others}.",
    )


def coverage_warnings(result: RunResult) -> tuple[str, ...]:
    """A warning where operators were not modelled: the figures then leave something out."""
    unknown = result.coverage.unknown
    if not unknown.ops:
        return ()
    names = dict.fromkeys(o.op for o in result.coverage.operators if o.status == "unknown")
    return (
        f"{result.workload.name} on {result.hardware.name}: "
        f"{plural(unknown.ops, 'layer')} of unknown operators ({', '.join(names)}) with "
        f"{unknown.bytes_share:.1%} of the bytes; see the ledger, or gate with --max-unknown",
    )
