"""Per-layer widths under budgets, on a machine's own costs: the loop over run, solver and accuracy.

Costs are taken layer by layer from uniform plans and taken to add up; every plan that is shown is
then mapped and costed for itself, and a budget that this breaks is tightened and solved again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from npubench.errors import InputError, MappingError, OptionError, Problem, did_you_mean
from npubench.ir import LayerPrecision, MacLayer, Network, PrecisionPlan, parse_precision
from npubench.machines.protocol import Cost, Machine, Objective, evaluate
from npubench.precision.published import published_plans
from npubench.precision.weigh import weigh
from npubench.study.accuracy import executed_plan, measured, open_evaluator
from npubench.study.precision_request import (
    DROP,
    METRICS,
    PrecisionSearch,
    SearchedPlan,
    SearchRequest,
)
from npubench.study.precision_solver import (
    EDP,
    LOSS,
    Choice,
    Frontier,
    PrecisionProblem,
    Solution,
    find_frontier,
    solve,
)
from npubench.study.result import Accuracy
from npubench.study.run import check_objective, make_stamp
from npubench.study.sensitivity import SENSITIVITIES, measure_sensitivity, published_loss
from npubench.study.session import Session

__all__ = ["PrecisionSearcher", "search_precision"]

_REPAIRS = 12


def search_precision(
    request: SearchRequest,
    session: Session | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> PrecisionSearch:
    """Search and cost.

    Args:
        request: what to search.
        session: keeps networks, machines and evaluators.
        on_step: called with sensitivity measurements done and in all.

    Raises:
        InputError: names, budgets that no plan meets, nothing to choose from, no data to measure.
    """
    return PrecisionSearcher(request, session or Session(), on_step).run()


class PrecisionSearcher:
    """One search; holds what its steps share.

    Args:
        request: what to search.
        session: keeps networks, machines and evaluators.
        on_step: called with sensitivity measurements done and in all.

    Raises:
        InputError: names, nothing to choose from.
    """

    def __init__(
        self,
        request: SearchRequest,
        session: Session,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.request = request
        self.session = session
        self.on_step = on_step
        _check(request)
        check_objective(request.mapping_objective)
        self.machine: Machine[Any] = session.machine(
            request.hardware, request.knobs, request.overrides
        )
        self.loaded = session.network(request.workload, request.dims)
        self.network = self.loaded.network
        self.batched = self.network.with_batch(request.batch)
        self.precisions = self._executable(request.widths)
        self.groups = _tied(self.network)
        self.pinned = self._pinned()
        self._seen: dict[tuple[str, ...], Cost] = {}

    def run(self) -> PrecisionSearch:
        """All steps.

        Raises:
            InputError: budgets that no plan meets, no data to measure.
        """
        losses, problem = self.losses, self.problem
        request = self.request
        metric = "energy_j" if request.objective == EDP else request.objective
        frontier = find_frontier(problem, metric)
        shown = self._spread(problem, frontier)
        rows: list[SearchedPlan] = []
        if request.budgets:
            rows.append(self._asked_for(shown, frontier))
        for precision in self.precisions:
            uniform = PrecisionPlan(precision)
            loss = self._loss_of(uniform, losses)
            rows.append(self._row(str(precision), uniform, loss))
        rows += self.published()
        rows += [self._solved("frontier", solution) for solution in shown]
        errors = [
            abs(r.predicted_edp_js / r.edp_js - 1)
            for r in rows
            if r.predicted_edp_js is not None and r.edp_js
        ]
        return PrecisionSearch(
            network=self.network.name,
            hardware=self.machine.info.name,
            objective=request.objective,
            sensitivity=request.sensitivity,
            budgets=dict(request.budgets),
            widths=tuple(map(str, self.precisions)),
            groups=tuple(tuple(g) for g in self.groups if len(g) > 1),
            rows=tuple(rows),
            frontier=len(frontier),
            exact=frontier.exact,
            worst_prediction=max(errors, default=0.0),
            stamp=make_stamp(request.seed),
        )

    def _executable(self, widths: Iterable[str]) -> tuple[LayerPrecision, ...]:
        """The precisions that the machine runs for those asked for, each once."""
        found: dict[LayerPrecision, None] = {}
        for text in widths:
            wanted = PrecisionPlan(parse_precision(text))
            executed = self.machine.legalise(self.batched, wanted).executed
            found |= dict.fromkeys(executed.of(layer.name) for layer in self.network.mac_layers)
        if len(found) < 2:
            only = next(iter(found), None)
            raise MappingError(
                Problem(
                    f"'{self.machine.info.name}' executes only {only} for "
                    f"{', '.join(widths)}: there is nothing to choose",
                    hint="take other --widths, or an accelerator with several formats",
                )
            )
        return tuple(found)

    def _pinned(self) -> Mapping[str, LayerPrecision]:
        """Layers whose width is given: the ends, and those without a published sensitivity."""
        names = [layer.name for layer in self.network.mac_layers]
        text = self.request.ends
        if text is None and self.request.sensitivity == "hawq":
            text = "w8a8"  # as in every setting of HAWQ-V3, whose table leaves the ends out
        if text is None:
            return {}
        plan = PrecisionPlan(parse_precision(text))
        executed = self.machine.legalise(self.batched, plan).executed
        pinned = {name: executed.of(name) for name in (names[0], names[-1])}
        strange = [str(p) for p in pinned.values() if p not in self.precisions]
        if strange:
            known = ", ".join(map(str, self.precisions))
            raise OptionError(f"--ends {text}: {strange[0]} is not among the widths {known}")
        return pinned

    @cached_property
    def losses(self) -> Mapping[tuple[int, LayerPrecision], float]:
        """What each group of layers loses at each precision."""
        request = self.request
        if request.sensitivity == "hawq":
            table = published_loss(self.network, self.precisions)
            return {
                (index, p): sum(table.get((name, p), 0.0) for name in group)
                for index, group in enumerate(self.groups)
                for p in self.precisions
            }
        if request.measuring is None:
            raise OptionError(
                Problem(
                    f"--sensitivity {request.sensitivity} is measured: it needs --dataset",
                    hint="or take --sensitivity hawq for a network that it was published for",
                )
            )
        evaluator = open_evaluator(request.workload, request.dims, request.measuring, self.session)
        return measure_sensitivity(
            evaluator, self.groups, self.precisions, request.sensitivity, self.on_step
        )

    @cached_property
    def problem(self) -> PrecisionProblem:
        """The choices of every group, with losses and with costs that are taken to add up."""
        losses = self.losses
        costs = {p: self._shares(p) for p in self.precisions}
        widest = max(self.precisions, key=lambda p: p.weight.bits + p.activation.bits)
        groups = []
        for index, group in enumerate(self.groups):
            choices = []
            for precision in self._allowed(group):
                parts = [costs[precision][0][name] for name in group]
                totals = tuple(sum(column) for column in zip(*parts, strict=True))
                choices.append(Choice(losses.get((index, precision), 0.0), totals))
            groups.append(tuple(choices))
        return PrecisionProblem(METRICS, tuple(groups), costs[widest][1])

    def _allowed(self, group: Sequence[str]) -> tuple[LayerPrecision, ...]:
        pinned = [self.pinned[name] for name in group if name in self.pinned]
        if not pinned:
            return self.precisions
        return (pinned[0],)

    def _shares(
        self, precision: LayerPrecision
    ) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
        """Costs of each multiply-accumulate layer at a precision, and of everything else.

        Work on a layer's results counts with the layer, as far as the next one.
        """
        plan = self._legal(PrecisionPlan(precision))
        cost = self._cost(plan)
        shares = {layer.name: [0.0, 0.0, 0.0, 0.0] for layer in self.network.mac_layers}
        fixed = [
            cost.overlap_cycles / cost.clock_hz,
            cost.overlap_energy_j / self.request.batch,
            0.0,
            0.0,
        ]
        current = fixed
        for layer, its in zip(self.network.layers, cost.layers, strict=True):
            if isinstance(layer, MacLayer):
                current = shares[layer.name]
                alone = replace(self.network, layers=(layer,))
                weight = weigh(alone, plan)
                current[2] += weight.weight_bits / 8
                current[3] += weight.bops
            current[0] += its.cycles / cost.clock_hz
            current[1] += its.energy_j / self.request.batch
        return {name: tuple(parts) for name, parts in shares.items()}, tuple(fixed)

    def _legal(self, plan: PrecisionPlan) -> PrecisionPlan:
        return executed_plan(self.machine.legalise(self.batched, plan))

    def _cost(self, plan: PrecisionPlan) -> Cost:
        names = (layer.name for layer in self.network.mac_layers)
        key = (str(plan.default), *(str(plan.of(name)) for name in names))
        if key not in self._seen:
            objective = Objective(self.request.mapping_objective)
            self._seen[key] = evaluate(self.machine, self.batched, plan, objective)
        return self._seen[key]

    def _spread(self, problem: PrecisionProblem, frontier: Frontier) -> list[Solution]:
        """Plans of the frontier, evenly by position; for EDP the least one within each loss."""
        count = min(self.request.points, len(frontier))
        places = [round(i * (len(frontier) - 1) / max(count - 1, 1)) for i in range(count)]
        chosen = [frontier.solution(place) for place in dict.fromkeys(places)]
        if self.request.objective != EDP:
            return chosen
        least = [solve(problem, EDP, {LOSS: one.loss}) for one in chosen]
        unique = {s.picks: s for s in least if s is not None}
        return sorted(unique.values(), key=lambda s: (s.value(EDP), s.loss))

    def _asked_for(self, shown: Sequence[Solution], frontier: Frontier) -> SearchedPlan:
        budgets = dict(self.request.budgets)
        drop = budgets.pop(DROP, None)
        if drop is not None:
            return self._within_drop(shown, frontier, drop, budgets)
        return self.choose(budgets)

    def choose(self, budgets: Mapping[str, float]) -> SearchedPlan:
        """The plan of least loss within budgets on costs, else of least objective within a loss.

        Raises:
            MappingError: no plan meets them.
        """
        problem = self.problem
        costly = [name for name in budgets if name != LOSS]
        objective = LOSS if costly else self.request.objective
        limits = dict(budgets)
        for _ in range(_REPAIRS):
            found = solve(problem, objective, limits)
            if found is None:
                break
            row = self._solved("chosen", found)
            broken = [n for n in costly if row.value(n) > budgets[n] * (1 + 1e-9)]
            if not broken:
                return row
            # Costs did not quite add up: take others to miss by as much as this one.
            for name in broken:
                limits[name] = found.value(name) * budgets[name] / row.value(name) * (1 - 1e-6)
        raise self._unmet(problem, budgets)

    def _unmet(self, problem: PrecisionProblem, budgets: Mapping[str, float]) -> InputError:
        least = {name: solve(problem, name, {}) for name in budgets}
        reached = ", ".join(
            f"{name} {one.value(name):.4g}" for name, one in least.items() if one is not None
        )
        asked = ", ".join(f"{name} {bound:.4g}" for name, bound in budgets.items())
        return MappingError(
            Problem(
                f"no plan of '{self.network.name}' on '{self.machine.info.name}' meets {asked}",
                hint=f"least on its own: {reached}",
            )
        )

    def _within_drop(
        self,
        shown: Sequence[Solution],
        frontier: Frontier,
        drop: float,
        others: Mapping[str, float],
    ) -> SearchedPlan:
        """The cheapest plan of the frontier whose measured drop is within a bound.

        Bisection over the frontier, taking the drop to rise as plans get cheaper; what is given
        back has been measured.
        """
        if others:
            raise OptionError("--max drop goes alone: its plans are measured one by one")
        if self.request.measuring is None:
            raise OptionError("--max drop is measured: it needs --dataset")
        is_edp = self.request.objective == EDP
        plans = shown if is_edp else [frontier.solution(i) for i in range(len(frontier))]
        low, high = 0, len(plans) - 1
        best: SearchedPlan | None = None
        while low <= high:
            middle = (low + high) // 2
            row = self._solved("chosen", plans[middle])
            lost = row.accuracy.drop if row.accuracy is not None else None
            if lost is not None and lost <= drop:
                best, high = row, middle - 1
            else:
                low = middle + 1
        if best is None:
            raise MappingError(
                f"no plan of '{self.network.name}' loses {drop:g} points or less at these widths"
            )
        return best

    def _plan_of(self, solution: Solution) -> PrecisionPlan:
        layers = {
            name: self._allowed(group)[pick]
            for group, pick in zip(self.groups, solution.picks, strict=True)
            for name in group
        }
        # What belongs to no layer is kept as the file of the plan keeps it: as most layers are.
        widths = list(layers.values())
        default = max(widths, key=widths.count)
        return PrecisionPlan(default, layers, source="precision search")

    def _solved(self, name: str, solution: Solution) -> SearchedPlan:
        row = self._row(name, self._plan_of(solution), solution.loss)
        return replace(row, predicted_edp_js=solution.value(EDP))

    def _row(self, name: str, plan: PrecisionPlan, loss: float | None) -> SearchedPlan:
        executed = self._legal(plan)
        cost = self._cost(executed)
        energy = cost.energy_j / self.request.batch
        size = weigh(self.network, executed)
        return SearchedPlan(
            name=name,
            plan={x.name: str(executed.of(x.name)) for x in self.network.mac_layers},
            loss=loss,
            latency_s=cost.latency_s,
            energy_j=energy,
            edp_js=energy * cost.latency_s,
            weight_bytes=size.weight_bytes,
            bops=size.bops,
            accuracy=self._measure(executed),
        )

    def _measure(self, plan: PrecisionPlan) -> Accuracy | None:
        measuring = self.request.measuring
        if measuring is None:
            return None
        evaluator = open_evaluator(
            self.request.workload, self.request.dims, measuring, self.session
        )
        key = ("measured", measuring, tuple(sorted((n, str(p)) for n, p in plan.layers.items())))
        return self.session.keep(key, lambda: measured(evaluator.measure(plan)))

    def _loss_of(
        self, plan: PrecisionPlan, losses: Mapping[tuple[int, LayerPrecision], float]
    ) -> float | None:
        """Predicted loss of any plan; None where some layer's width has no sensitivity."""
        total = 0.0
        for index, group in enumerate(self.groups):
            widths = {plan.of(name) for name in group}
            if len(widths) != 1:
                return None
            loss = losses.get((index, widths.pop()))
            if loss is None:
                return None
            total += loss
        return total

    def published(self) -> Iterable[SearchedPlan]:
        """The published plans of this network on this machine."""
        for file in published_plans():
            if self.network.name not in file.networks:
                continue
            for name in file.names:
                plan = self._legal(file.plan(name, self.network))
                yield self._row(name, plan, self._loss_of(plan, self.losses))


def _check(request: SearchRequest) -> None:
    if request.sensitivity not in SENSITIVITIES:
        hint = did_you_mean(request.sensitivity, SENSITIVITIES)
        raise OptionError(Problem(f"unknown sensitivity '{request.sensitivity}'", hint=hint))
    if request.batch < 1:
        raise OptionError(f"--batch: expected a whole number from 1, got {request.batch}")
    if request.points < 1:
        raise OptionError(f"--points: expected a whole number from 1, got {request.points}")


def _tied(network: Network) -> tuple[tuple[str, ...], ...]:
    """Layers that read the same tensor: it is stored once, at one width."""
    groups: dict[str, list[str]] = {}
    for layer in network.mac_layers:
        groups.setdefault(layer.data, []).append(layer.name)
    return tuple(tuple(names) for names in groups.values())
