"""Several networks on several machines, with ratios to one of the machines."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.study.normalise import normalise
from npubench.study.result import Comparison, Options, Ratio, RunResult
from npubench.study.run import RunRequest, run
from npubench.study.session import Session, parse_hardware

__all__ = ["GEOMEAN", "compare", "compare_runs"]

GEOMEAN = "geomean"


def compare(
    workloads: Sequence[str],
    hardware: Sequence[str],
    options: Options | None = None,
    *,
    baseline: str | None = None,
    seed: int = 0,
    session: Session | None = None,
    on_run: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run every network on every machine.

    Args:
        workloads: names or paths, at least one.
        hardware: names or paths, each with knobs if need be (``tpuv4i:clock=0.7GHz``).
        options: batch, precision and the like, the same for every run.
        baseline: the machine that ratios refer to, as given in ``hardware`` or as results name it;
            by default the first.
        seed: see `RunRequest`.
        session: shared with other runs.
        on_run: called after each run with how many are done and how many there are.

    Returns:
        Runs by workload, then by machine, in the order given. A machine's name carries the knobs
        given with it; a number follows a name that an earlier machine or workload has already.

    Raises:
        OptionError: nothing to compare, something named twice, or an unknown baseline.
        InputError: pairs that cannot run, with every problem of every pair.
    """
    options, session = options or Options(), session or Session()
    _check_names(workloads, hardware)
    labels = _label_machines(hardware, options, session)
    names = _label_networks(workloads, options, session)
    base = labels[0] if baseline is None else _find_baseline(baseline, hardware, labels)
    networks = zip(workloads, names, strict=True)
    machines = zip(hardware, labels, strict=True)
    pairs = list(itertools.product(networks, machines))
    runs: list[RunResult] = []
    problems: list[Problem] = []
    for done, ((workload, name), (machine, label)) in enumerate(pairs, start=1):
        request = RunRequest(
            workload=workload,
            hardware=machine,
            dims=options.dims,
            batch=options.batch,
            precision=options.precision,
            knobs=options.knobs,
            overrides=options.overrides,
            seed=seed,
            dataset=options.dataset,
            calibration=options.calibration,
            samples=options.samples,
            faults=options.faults,
            objective=options.objective,
        )
        try:
            result = run(request, session)
        except InputError as error:
            problems += error.problems
        else:
            runs.append(
                replace(
                    result,
                    workload=replace(result.workload, name=name),
                    hardware=replace(result.hardware, name=label),
                )
            )
        if on_run is not None:
            on_run(done, len(pairs))
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return compare_runs(runs, labels, base)


def compare_runs(runs: Sequence[RunResult], labels: Sequence[str], base: str) -> Comparison:
    """Runs that are there already, with ratios to the machine ``base``, one of ``labels``.

    Every workload must have a run on every machine, and machines and workloads names of their own.
    """
    ratios = _ratios(runs, labels, base)
    return Comparison(base, tuple(runs), ratios, normalise(runs, base))


def _check_names(workloads: Sequence[str], hardware: Sequence[str]) -> None:
    problems = [
        f"compare: no {what} given"
        for what, names in (("workload", workloads), ("hardware", hardware))
        if not names
    ]
    problems += [
        f"compare: {what} '{name}' is given twice"
        for what, names in (("workload", workloads), ("hardware", hardware))
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise OptionError(*problems)


def _label_machines(hardware: Sequence[str], options: Options, session: Session) -> tuple[str, ...]:
    def label(text: str) -> str:
        name = session.machine(text, options.knobs, options.overrides).info.name
        knobs = ",".join(f"{knob}={value}" for knob, value in parse_hardware(text)[1].items())
        return f"{name}:{knobs}" if knobs else name

    return _label(hardware, label)


def _label_networks(
    workloads: Sequence[str], options: Options, session: Session
) -> tuple[str, ...]:
    return _label(workloads, lambda text: session.network(text, options.dims).network.name)


def _label(texts: Sequence[str], name_of: Callable[[str], str]) -> tuple[str, ...]:
    """A name for each text; a number tells equal ones apart. Every problem is raised at once."""
    labels: list[str] = []
    seen: Counter[str] = Counter()
    problems: list[Problem] = []
    for text in texts:
        try:
            name = name_of(text)
        except InputError as error:
            problems += error.problems
        else:
            seen[name] += 1
            labels.append(f"{name}#{seen[name]}" if seen[name] > 1 else name)
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return tuple(labels)


def _find_baseline(baseline: str, hardware: Sequence[str], labels: Sequence[str]) -> str:
    wanted = _folded(baseline)
    for names in (hardware, labels):
        for name, label in zip(names, labels, strict=True):
            if _folded(name) == wanted:
                return label
    hint = did_you_mean(baseline, labels)
    raise OptionError(Problem(f"--baseline '{baseline}' is not among those compared", hint=hint))


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _ratios(runs: Sequence[RunResult], labels: Sequence[str], base: str) -> tuple[Ratio, ...]:
    """One row per run, then per machine the geometric mean over two or more workloads."""
    by_workload: dict[str, dict[str, RunResult]] = {}
    for result in runs:
        by_workload.setdefault(result.workload.name, {})[result.hardware.name] = result
    rows = [
        _ratio(result, of_one[base])
        for of_one in by_workload.values()
        for result in of_one.values()
    ]
    if len(by_workload) < 2:
        return tuple(rows)
    means = [_mean([row for row in rows if row.hardware == label], label) for label in labels]
    return (*rows, *means)


def _ratio(result: RunResult, base: RunResult) -> Ratio:
    mine, other = result.totals, base.totals
    return Ratio(
        workload=result.workload.name,
        hardware=result.hardware.name,
        latency=mine.latency_s / other.latency_s,
        energy=mine.energy_j / other.energy_j if other.energy_j else None,
        edp=mine.edp_js / other.edp_js if other.edp_js else None,
        throughput=mine.throughput_ips / other.throughput_ips,
    )


def _mean(rows: Sequence[Ratio], label: str) -> Ratio:
    return Ratio(
        workload=GEOMEAN,
        hardware=label,
        latency=_geomean([row.latency for row in rows]),
        energy=_geomean_of_known([row.energy for row in rows]),
        edp=_geomean_of_known([row.edp for row in rows]),
        throughput=_geomean([row.throughput for row in rows]),
    )


def _geomean(values: Sequence[float]) -> float:
    """Geometric mean by logarithms, so that long products cannot overflow; 0 if any value is 0."""
    if not all(values):
        return 0.0
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _geomean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _geomean(known) if len(known) == len(values) else None
