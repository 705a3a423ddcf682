"""What HAWQ-V3's published plans weigh, counted from our networks beside its own table."""

from __future__ import annotations

from collections.abc import Iterator

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.precision.sources import find_plan
from npubench.precision.weigh import weigh
from npubench.study.studies.record import Cell, StudyColumn, StudyContext, StudySection
from npubench.study.studies.tables import Row, read_table

__all__ = ["published_rows", "run"]

_COLUMNS = (
    StudyColumn("setting", "Plan"),
    StudyColumn("mean_bits", "Mean", "fixed", "bit"),
    StudyColumn("weight_mib", "Weights", "fixed", "MiB"),
    StudyColumn("weight_mib_published", "Weights", "number", "MiB", published=True),
    StudyColumn("weights_error", "Differs", "share"),
    StudyColumn("bops", "BOPS", "count"),
    StudyColumn("bops_published", "BOPS", "count", published=True),
    StudyColumn("bops_error", "Differs", "share"),
    StudyColumn("top1_published", "Top-1", "fixed", "%", published=True),
    StudyColumn("speedup_t4_published", "T4 x", "number", published=True),
)
_NOTES = (
    "Weights of convolutions and matrix products only; BOPS is MACs x weight bits x activation "
    "bits, summed over layers. Mean: bits over all weights.",
    "The published sizes of mixed plans are up to 3.3 % larger and their bit operations up to "
    "3.1 % smaller than what the plans themselves give, here and in any recount.",
    "Published: HAWQ-V3, arXiv:2011.10680, tables of its repository; T4 x is the speed-up over "
    "float on an NVIDIA T4, measured there.",
)


def published_rows(network: str) -> tuple[Row, ...]:
    """HAWQ-V3's published row of every plan of a network, fp32 apart."""
    return tuple(row for row in _published() if row.text("network") == network)


def _published() -> tuple[Row, ...]:
    rows = read_table("workloads", "precision/hawq_v3_published.csv")
    return tuple(row for row in rows if row.text("setting") != "fp32")


def run(context: StudyContext) -> Iterator[StudySection]:
    """One table for each network."""
    names = context.listed("networks")
    known = [row.text("network") for row in _published()]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        shown = wrong[0] if wrong else ""
        hint = did_you_mean(shown, known)
        raise OptionError(Problem(f"--set networks: no published plans of '{shown}'", hint=hint))
    for done, name in enumerate(names, start=1):
        yield _section(context, name)
        context.on_step(done, len(names))


def _section(context: StudyContext, name: str) -> StudySection:
    network = context.session.network(name, {}).network
    parameters = sum(layer.nest.weight_elements for layer in network.mac_layers)
    rows: list[tuple[Cell, ...]] = []
    for row in published_rows(name):
        weight = weigh(network, find_plan(f"hawq_{row.text('setting')}", network, None))
        size, bops = row.number("weight_mb"), row.number("bops_g") * 1e9
        rows.append(
            (
                row.text("setting"),
                weight.weight_bits / parameters,
                weight.weight_mib,
                size,
                weight.weight_mib / size - 1,
                weight.bops,
                bops,
                weight.bops / bops - 1,
                row.number("top1"),
                row.optional("speedup_t4"),
            )
        )
    return StudySection(
        key=name,
        title=f"{name}: {network.macs / 1e9:.2f} GMAC, {parameters / 1e6:.2f} M weights",
        columns=_COLUMNS,
        rows=tuple(rows),
        notes=_NOTES,
    )
