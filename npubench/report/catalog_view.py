"""What `npubench list` and `npubench check` show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from npubench.report.table import Table, View, count, label, number
from npubench.report.text import plural
from npubench.serving.scenario_file import ScenarioFile
from npubench.specs.catalog import SpecEntry, WorkloadEntry
from npubench.units import scaled

__all__ = ["checked_view", "hardware_view", "scenarios_view", "workloads_view"]


def workloads_view(entries: Sequence[WorkloadEntry]) -> View:
    """The shipped networks."""
    columns = (
        label("name", "Workload"),
        count("macs", "MACs", [entry.macs for entry in entries]),
        count("parameters", "Parameters", [entry.params for entry in entries]),
        label("variant", "Variant", "clip"),
    )
    record = Table(
        "",
        (*columns, label("aliases", "Aliases"), label("source", "Source")),
        tuple((e.name, e.macs, e.params, e.variant, _joined(e.aliases), e.source) for e in entries),
    )
    title = f"workloads: {plural(len(entries), 'network')}, sizes of one inference"
    note = "Details: npubench show NAME. A path to an ONNX file works wherever a name does."
    return View(title, (record.without("aliases", "source"),), record, (note,))


def hardware_view(entries: Sequence[SpecEntry]) -> View:
    """The shipped hardware specs."""
    further = ("aliases", "knobs", "citation", "file")
    columns = (
        label("name", "Accelerator"),
        label("family", "Family"),
        number("node_nm", "Node", "nm"),
        label("title", "Title", "clip"),
    )
    record = Table(
        "",
        (*columns, *(label(key, key) for key in further)),
        tuple(
            (
                *(e.header.name, e.header.family),
                None if e.header.node is None else scaled(e.header.node.value, "m", "n"),
                *(e.header.title, _joined(e.header.aliases), _joined(e.header.knobs)),
                *(e.header.citation, e.document.path),
            )
            for e in entries
        ),
    )
    title = f"hardware: {plural(len(entries), 'accelerator')}"
    note = "Details: npubench show NAME. A path to a YAML file works wherever a name does."
    return View(title, (record.without(*further),), record, (note,))


def scenarios_view(entries: Sequence[ScenarioFile]) -> View:
    """The shipped scenarios."""
    columns = (
        label("name", "Scenario"),
        label("kind", "Kind"),
        label("networks", "Networks", "clip"),
        label("title", "Title", "clip"),
    )
    record = Table(
        "",
        (*columns, label("source", "Source")),
        tuple(
            (e.name, e.kind, _joined(n.name for n in e.networks), e.title, e.source)
            for e in entries
        ),
    )
    note = "Run one with npubench serve NAME --hw HW. A path to a YAML file works as well."
    title = f"scenarios: {len(entries)}"
    return View(title, (record.without("networks", "source"),), record, (note,))


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)


def checked_view(found: Sequence[tuple[str, str, str]]) -> View:
    """Files in which nothing is wrong: (file, kind, what it holds) of each."""
    table = Table(
        "",
        (label("file", "File", "shorten"), label("kind", "Kind"), label("holds", "Holds", "wrap")),
        tuple(found),
    )
    return View(f"check: {plural(len(found), 'file')}, no mistakes", (table,), table)
