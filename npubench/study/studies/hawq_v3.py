"""HAWQ-V3's choice of widths: its own programme solved exactly, then on a machine's own costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from npubench.errors import MappingError, OptionError, Problem, did_you_mean
from npubench.precision.published import PublishedPlans, published_plans
from npubench.precision.sources import find_plan
from npubench.precision.weigh import weigh
from npubench.study.precision_request import SearchedPlan, SearchRequest
from npubench.study.precision_search import PrecisionSearcher
from npubench.study.precision_solver import LOSS, Choice, PrecisionProblem, Solution, solve
from npubench.study.studies.record import Cell, StudyColumn, StudyContext, StudySection
from npubench.study.studies.tables import Row, read_table

__all__ = ["Programme", "hawq_programme", "run"]

_TABLE = "precision/hawq_v3_published.csv"
_BITS = (8, 4)
_METRICS = ("modelsize", "bops", "latency")
# What a budget of HAWQ-V3 becomes where the costs are those of a machine of ours.
_OWN = {"modelsize": "weight_bytes", "bops": "bops", "latency": "latency_s"}
_SOURCE = "HAWQ-V3, arXiv:2011.10680, tables of its repository"

_BITS_COLUMNS = (
    StudyColumn("setting", "Plan"),
    StudyColumn("layers_at_4_published", "4 bits", "fixed", published=True, decimals=0),
    StudyColumn("layers_at_4", "4 bits", "fixed", decimals=0),
    StudyColumn("layers_that_differ", "Differ", "fixed", decimals=0),
    StudyColumn("loss_of_published", "Loss theirs", "number"),
    StudyColumn("loss", "Loss ours", "number"),
    StudyColumn("weight_mib_published", "Weights", "number", "MiB", published=True),
    StudyColumn("weight_mib", "Weights", "fixed", "MiB"),
    StudyColumn("bops_published", "BOPS", "count", published=True),
    StudyColumn("bops", "BOPS", "count"),
    StudyColumn("top1_published", "Top-1", "fixed", "%", published=True),
    StudyColumn("speedup_t4_published", "T4 x", "number", published=True),
)
_BITS_NOTES = (
    "Loss is Hessian trace per parameter x squared weight error, summed over layers, as HAWQ-V3 "
    "publishes them: of its published widths and of our exact optimum under its budget, which "
    "lies at that share between all layers at 4 bits and all at 8.",
    "4 bits: layers at that width, of those that are chosen; Differ: layers for which the exact "
    "optimum and the published choice are not the same. A downsample has the width of its block's "
    "first convolution, the first and the last layer stay at 8 bits.",
    "Weights and BOPS are counted from the published widths on the network that ships; published "
    "top-1 and speed on an NVIDIA T4 belong to the published widths.",
)
_OWN_COLUMNS = (
    StudyColumn("setting", "Plan"),
    StudyColumn("budget", "Budget"),
    StudyColumn("latency_s_of_published", "Latency theirs", "quantity", "s"),
    StudyColumn("latency_s", "Latency ours", "quantity", "s"),
    StudyColumn("energy_j_of_published", "Energy theirs", "quantity", "J"),
    StudyColumn("energy_j", "Energy ours", "quantity", "J"),
    StudyColumn("edp_js_of_published", "EDP theirs", "quantity", "J*s"),
    StudyColumn("edp_js", "EDP ours", "quantity", "J*s"),
    StudyColumn("loss_of_published", "Loss theirs", "number"),
    StudyColumn("loss", "Loss ours", "number"),
    StudyColumn("layers_that_differ", "Differ", "fixed", decimals=0),
)
_OWN_NOTES = (
    "Theirs: the published widths, costed by npubench on this accelerator; ours: the "
    "exact choice of least loss that costs no more of what the budget names than they do there.",
)


@dataclass(frozen=True)
class Programme:
    """HAWQ-V3's integer programme of a network.

    Attributes:
        file: its published settings.
        problem: groups of layers that share a width, at 8 and at 4 bits.
        names: the layers of each group, as HAWQ-V3 calls them.
    """

    file: PublishedPlans
    problem: PrecisionProblem
    names: tuple[tuple[str, ...], ...]

    def optimum(self, metric: str, share: float) -> Solution:
        """The least loss with a metric at most ``share`` of the way from all 4 bits to all 8."""
        wide, narrow = (
            self.problem.total([pick] * len(self.names)).costs[metric] for pick in (0, 1)
        )
        found = solve(self.problem, LOSS, {metric: narrow + share * (wide - narrow)})
        if found is None:
            raise ValueError(f"{metric}: a budget above the least cost is always met")
        return found

    def published(self, setting: str) -> Solution:
        """The published widths of a setting."""
        widths = dict(
            zip((x.name for x in self.file.layers), self.file.settings[setting], strict=True)
        )
        return self.problem.total([_BITS.index(widths[group[0]]) for group in self.names])

    def layers_at_4(self, solution: Solution) -> frozenset[str]:
        """The layers of 4 bits."""
        pairs = zip(self.names, solution.picks, strict=True)
        return frozenset(name for group, pick in pairs for name in group if _BITS[pick] == 4)


def hawq_programme(network: str) -> Programme:
    """The programme behind the published settings: its sensitivities, parameters, MACs, latencies.

    Source: HAWQ-V3, arXiv:2011.10680, section 3.3, and ILP.ipynb of its repository.
    """
    file = next(f for f in published_plans() if network in f.networks)
    groups: dict[str, list[Row]] = {}
    for row in read_table("workloads", f"precision/{file.name}_sensitivity.csv"):
        block, is_shortcut, _ = row.text("name").partition(".downsample")
        key = f"{block}.conv1" if is_shortcut else row.text("name")
        groups.setdefault(key, []).append(row)
    choices = tuple(
        tuple(
            Choice(
                sum(
                    r.number("hessian_trace_per_param") * r.number(f"weight_sq_error_int{bits}")
                    for r in rows
                ),
                (
                    sum(r.number("params") * bits for r in rows),
                    sum(r.number("macs") * bits * bits for r in rows),
                    sum(r.number(f"t4_latency_int{bits}") for r in rows),
                ),
            )
            for bits in _BITS
        )
        for rows in groups.values()
    )
    names = tuple(tuple(r.text("name") for r in rows) for rows in groups.values())
    return Programme(file, PrecisionProblem(_METRICS, choices, (0.0, 0.0, 0.0)), names)


def run(context: StudyContext) -> Iterator[StudySection]:
    """Two tables for each network: HAWQ-V3's own programme, and its widths on each machine."""
    names = context.listed("networks")
    known = [row.text("network") for row in read_table("workloads", _TABLE)]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        shown = wrong[0] if wrong else ""
        hint = did_you_mean(shown, known)
        raise OptionError(Problem(f"--set networks: no published plans of '{shown}'", hint=hint))
    machines = context.listed("hardware")
    done, total = 0, len(names) * (1 + len(machines))
    for name in names:
        yield _bits(context, name)
        done += 1
        context.on_step(done, total)
        for machine in machines:
            yield _own(context, name, machine)
            done += 1
            context.on_step(done, total)


def _settings(file: PublishedPlans) -> Iterator[tuple[str, str, float]]:
    """The settings with a budget: name, metric, share."""
    for setting in file.settings:
        metric, _, share = setting.rpartition("_")
        if metric in _METRICS:
            yield setting, metric, float(share)


def _bits(context: StudyContext, name: str) -> StudySection:
    programme = hawq_programme(name)
    network = context.session.network(name, {}).network
    table = {
        row.text("setting"): row
        for row in read_table("workloads", _TABLE)
        if row.text("network") == name
    }
    rows: list[tuple[Cell, ...]] = []
    same = 0
    for setting, metric, share in _settings(programme.file):
        theirs, ours = programme.published(setting), programme.optimum(metric, share)
        narrow, wanted = programme.layers_at_4(ours), programme.layers_at_4(theirs)
        weight = weigh(network, find_plan(f"hawq_{setting}", network, None))
        row = table[setting]
        rows.append(
            (
                setting,
                len(wanted),
                len(narrow),
                len(narrow ^ wanted),
                theirs.loss,
                ours.loss,
                row.number("weight_mb"),
                weight.weight_mib,
                row.number("bops_g") * 1e9,
                weight.bops,
                row.number("top1"),
                row.optional("speedup_t4"),
            )
        )
        same += narrow == wanted
    return StudySection(
        key=f"{name}_bits",
        title=f"{name}: widths under HAWQ-V3's own sensitivities and costs",
        columns=_BITS_COLUMNS,
        rows=tuple(rows),
        notes=(
            f"The exact optimum is the published choice in {same} of {len(rows)} settings.",
            *_BITS_NOTES,
            f"Published: {_SOURCE}.",
        ),
    )


def _best(searcher: PrecisionSearcher, theirs: SearchedPlan, metric: str) -> SearchedPlan:
    """The plan of least loss within what a published one costs; that one meets it for sure."""
    try:
        ours = searcher.choose({metric: theirs.value(metric)})
    except MappingError:
        return theirs
    if ours.loss is None or theirs.loss is None or ours.loss < theirs.loss:
        return ours
    return theirs


def _own(context: StudyContext, name: str, machine: str) -> StudySection:
    widths = tuple(f"w{bits}a{bits}" for bits in _BITS)
    request = SearchRequest(name, machine, widths, sensitivity="hawq", seed=context.seed)
    searcher = PrecisionSearcher(request, context.session)
    published: Mapping[str, SearchedPlan] = {row.name: row for row in searcher.published()}
    file = next(f for f in published_plans() if name in f.networks)
    rows: list[tuple[Cell, ...]] = []
    for setting, metric, _ in _settings(file):
        theirs = published[f"{file.prefix}_{setting}"]
        ours = _best(searcher, theirs, _OWN[metric])
        rows.append(
            (
                setting,
                _OWN[metric],
                theirs.latency_s,
                ours.latency_s,
                theirs.energy_j,
                ours.energy_j,
                theirs.edp_js,
                ours.edp_js,
                theirs.loss,
                ours.loss,
                sum(ours.plan[layer] != width for layer, width in theirs.plan.items()),
            )
        )
    return StudySection(
        key=f"{name}_on_{searcher.machine.info.name}",
        title=f"{name} on {searcher.machine.info.name}: the same budgets on this machine's costs",
        columns=_OWN_COLUMNS,
        rows=tuple(rows),
        notes=_OWN_NOTES,
    )
