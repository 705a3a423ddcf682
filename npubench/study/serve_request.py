"""What `npubench serve` is asked: options as text, read onto a scenario."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from npubench import units
from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.serving import Length, NetworkLoad, Scenario
from npubench.study.axes import parse_axis

__all__ = ["Load", "ServeRequest", "adjust", "dims_of", "modes_of", "parse_loads", "policies_of"]

_TIMES = "x"
_PER_SECOND = ("rps", "/s", "1/s")


@dataclass(frozen=True, slots=True)
class Load:
    """A point on the load axis: a share of the reference system's nominal capacity, or a rate."""

    share: float | None = None
    rate_rps: float | None = None


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """What to serve on what.

    Attributes:
        scenario: name of a shipped scenario, or a file.
        hardware: names or paths of specs, with knobs if need be; the first is the reference.
        policies: texts of `npubench.serving.policy_text`, for every system or, as ``HW=POLICY``,
            for one; a system without any takes its own.
        loads: points of the load axis as text, see `parse_loads`; None for the scenario's own.
        find_load: search the largest load within the bounds instead.
        slo: bounds as text, ``15 ms``, ``10x`` or either after ``NETWORK=``.
        seed, repetitions, warmup, requests: in place of the scenario's; None keeps them.
        knobs, overrides: of every spec, as for a run.
        keep_records: keep a row per request of the first repetition.
        modes: ``HW=PRECISION,PRECISION``: precisions that a system chooses among, the base first,
            instead of the modes of its spec.
        precision: the one precision of every system that ``modes`` does not name; None for the
            modes of its spec.
        dims: values of symbolic dimensions by network; those of every network under ``""``.
        datasets: data set to measure a network's accuracy on, by network.
        samples: how many of its samples; None for all.
    """

    scenario: str
    hardware: tuple[str, ...]
    policies: tuple[str, ...] = ()
    loads: str | None = None
    find_load: bool = False
    slo: tuple[str, ...] = ()
    seed: int | None = None
    repetitions: int | None = None
    warmup: float | None = None
    requests: int | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    keep_records: bool = False
    modes: tuple[str, ...] = ()
    precision: str | None = None
    dims: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    samples: int | None = None


def parse_loads(text: str | None) -> tuple[Load, ...]:
    """Points of the load axis.

    Args:
        text: shares of the nominal capacity (``0.7``, ``70%``) or rates (``200 rps``), separated by
            commas or as ranges ``start:stop:step``; None for no points.

    Raises:
        OptionError: not that, or a load that is not above 0.
    """
    if text is None:
        return ()
    try:
        values = parse_axis(f"load={text}").values
    except OptionError as error:
        raise OptionError(
            *(
                _renamed(problem, f"--axis 'load={text}'", f"--load '{text}'")
                for problem in error.problems
            )
        ) from None
    return tuple(_load(value, text) for value in values)


def _renamed(problem: Problem, old: str, new: str) -> Problem:
    return replace(problem, message=problem.message.replace(old, new, 1))


def _load(value: str, text: str) -> Load:
    number, rate = value.strip(), False
    for unit in _PER_SECOND:
        if number.endswith(unit):
            number, rate = number.removesuffix(unit).strip(), True
            break
    percent = number.endswith("%") and not rate
    try:
        found = float(number.removesuffix("%") if percent else number)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise OptionError(
            f"--load '{text}': expected a share of the capacity above 0 such as 0.7, or a rate "
            f"such as '200 rps', got '{value}'"
        )
    if rate:
        return Load(rate_rps=found)
    return Load(share=found / 100 if percent else found)


def policies_of(request: ServeRequest) -> dict[str, tuple[str, ...]]:
    """Texts of the policies of each system; empty for one that takes its own.

    Raises:
        OptionError: systems or policies given twice.
    """
    if not request.hardware:
        raise OptionError("serve: no hardware given; name a system with --hw")
    own: dict[str, list[str]] = {name: [] for name in request.hardware}
    if len(own) < len(request.hardware):
        twice = next(n for n in own if request.hardware.count(n) > 1)
        raise OptionError(f"--hw {twice}: given twice")
    common: list[str] = []
    for text in request.policies:
        owner = next((name for name in own if text.startswith(f"{name}=")), None)
        target = common if owner is None else own[owner]
        policy = text if owner is None else text.removeprefix(f"{owner}=")
        if policy in target:
            raise OptionError(f"--policy '{text}': given twice")
        target.append(policy)
    return {name: tuple(texts or common) for name, texts in own.items()}


def modes_of(request: ServeRequest) -> dict[str, dict[str, str]]:
    """Modes of each system that is given its own: name to precision, the base mode first.

    Raises:
        OptionError: a system that is not served, or a precision given twice.
    """
    found: dict[str, dict[str, str]] = {}
    for text in request.modes:
        owner = next((name for name in request.hardware if text.startswith(f"{name}=")), None)
        if owner is None:
            hint = f"known: {', '.join(request.hardware)}"
            raise OptionError(
                Problem(f"--modes '{text}': expected HW=PRECISION,... with a HW of --hw", hint=hint)
            )
        names = [part.strip() for part in text.removeprefix(f"{owner}=").split(",")]
        if not all(names) or len(set(names)) < len(names) or owner in found:
            raise OptionError(
                f"--modes '{text}': expected different precisions, given once a system"
            )
        found[owner] = {name: name for name in names}
    if request.precision is not None:
        one = {request.precision: request.precision}
        return dict.fromkeys(request.hardware, one) | found
    return found


def dims_of(request: ServeRequest, networks: Iterable[str]) -> dict[str, dict[str, int]]:
    """Values of each network's symbolic dimensions; its own before those of all.

    Raises:
        OptionError: dimensions of networks that the scenario does not have.
    """
    names = list(networks)
    strangers = [name for name in request.dims if name and name not in names]
    if strangers:
        raise OptionError(
            *(
                Problem(
                    f"--dim '{name}={dim}={value}': the scenario has no network '{name}'",
                    hint=did_you_mean(name, names),
                )
                for name in strangers
                for dim, value in request.dims[name].items()
            )
        )
    return {name: {**request.dims.get("", {}), **request.dims.get(name, {})} for name in names}


def adjust(scenario: Scenario, request: ServeRequest) -> Scenario:
    """The scenario with the options that change it.

    Raises:
        InputError: options that it cannot take.
    """
    length = scenario.length
    if request.requests is not None:
        length = Length(request.requests, 0.0)
    return replace(
        scenario,
        networks=_with_bounds(scenario.networks, request.slo),
        length=length,
        warmup=scenario.warmup if request.warmup is None else request.warmup,
        repetitions=scenario.repetitions if request.repetitions is None else request.repetitions,
        seed=scenario.seed if request.seed is None else request.seed,
    )


def _with_bounds(
    networks: tuple[NetworkLoad, ...], texts: Iterable[str]
) -> tuple[NetworkLoad, ...]:
    bounds: dict[str | None, NetworkLoad] = {}
    problems: list[Problem] = []
    names = [network.name for network in networks]
    for text in texts:
        left, equals, right = (part.strip() for part in text.partition("="))
        name, bound = (left, right) if equals else (None, left)
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            problems.append(
                Problem(f"--slo '{text}': the scenario has no network '{name}'", hint=hint)
            )
        elif name in bounds:
            problems.append(Problem(f"--slo '{text}': this bound is given twice"))
        else:
            try:
                bounds[name] = _bound(bound)
            except InputError:
                problems.append(
                    Problem(
                        f"--slo '{text}': expected a time above 0 such as '15 ms', or a multiple "
                        f"of the isolated latency such as '10x', got '{bound}'"
                    )
                )
    if problems:
        raise OptionError(*problems)
    found = []
    for network in networks:
        wanted = bounds.get(network.name, bounds.get(None))
        if wanted is None:
            found.append(network)
        else:
            found.append(replace(network, slo_s=wanted.slo_s, slo_isolated=wanted.slo_isolated))
    return tuple(found)


def _bound(text: str) -> NetworkLoad:
    """A network that has the bound and nothing else."""
    if text.endswith(_TIMES):
        value = units.parse(text.removesuffix(_TIMES).strip(), "dimensionless")
        found = NetworkLoad("", slo_isolated=value)
    else:
        value = units.parse(text, "time")
        found = NetworkLoad("", slo_s=value)
    if not 0 < value < math.inf:
        raise InputError(text)
    return found
