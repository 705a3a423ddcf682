"""Accuracy beside the hardware numbers: measured where a data set is given, else published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from npubench import units
from npubench.errors import OptionError
from npubench.frontend import LoadedNetwork
from npubench.ir import Network, PrecisionPlan
from npubench.machines.protocol import Legalised
from npubench.specs.catalog import WorkloadEntry, find_workload
from npubench.study.result import Accuracy
from npubench.study.session import Session

if TYPE_CHECKING:
    from npubench.accuracy.evaluator import Evaluator, Measurement
    from npubench.accuracy.undervolting import ErrorRate

__all__ = [
    "DEFAULT_CALIBRATION",
    "Measuring",
    "check_measuring",
    "executed_plan",
    "find_accuracy",
    "open_evaluator",
]

DEFAULT_CALIBRATION = "mse"
KNOB = "vdd"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Measuring:
    """How accuracy is to be measured.

    Attributes:
        dataset: name of a shipped set, or a file or folder; see `npubench.accuracy.datasets`.
        calibration: see `npubench.accuracy.calibrate`; None for the default.
        samples: how many to take, drawn by the seed; None for all.
        faults: bit errors of the memories that hold weights and activations: a rate, a supply
            voltage (``0.57 V``) or ``vdd`` for the machine's knob; None for none.
        seed: of samples and faults.
    """

    dataset: str
    calibration: str | None = None
    samples: int | None = None
    faults: str | None = None
    seed: int = 0


def check_measuring(
    dataset: str | None, calibration: str | None, samples: int | None, faults: str | None
) -> None:
    """Refuse options that make no sense whatever the network.

    Raises:
        OptionError: options of a measurement without a data set, or values out of range.
    """
    # Both import numpy, which a run without a data set does not need this early.
    given = {"--calibration": calibration, "--samples": samples, "--faults": faults}
    if dataset is None:
        for option, value in given.items():
            if value is not None:
                raise OptionError(f"{option}: there is nothing to measure without --dataset")
        return
    from npubench.accuracy.calibrate import parse_calibration

    parse_calibration(calibration or DEFAULT_CALIBRATION)
    if samples is not None and samples < 1:
        raise OptionError(f"--samples: expected a whole number from 1, got {samples}")
    if faults is not None and faults != KNOB:
        fault_rate(faults, {})


def fault_rate(text: str, knobs: Mapping[str, str]) -> ErrorRate:
    """The bit error rate that ``--faults`` asks for, and where it is from.

    Args:
        text: a rate, a voltage with its unit, or ``vdd``.
        knobs: of the machine, as written.

    Raises:
        OptionError: none of these, a machine without that knob, or a voltage out of range.
    """
    from npubench.accuracy.faults import Faults
    from npubench.accuracy.undervolting import ErrorRate, bit_error_rate

    if text == KNOB:
        if KNOB not in knobs:
            known = ", ".join(knobs) or "none"
            raise OptionError(f"--faults {KNOB}: the accelerator has no such knob; it has {known}")
        return bit_error_rate(units.parse(knobs[KNOB], "voltage"))
    try:
        rate = Faults(float(text)).rate
        return ErrorRate(rate, rate, "")
    except ValueError:
        pass  # no plain number: a voltage
    try:
        volts = units.parse(text, "voltage")
    except units.UnitError as error:
        raise OptionError(
            f"--faults '{text}': expected a bit error rate, a voltage such as 0.57V, or "
            f"'{KNOB}': {error}"
        ) from None
    return bit_error_rate(volts)


def open_evaluator(
    workload: str,
    dims: Mapping[str, int],
    measuring: Measuring,
    session: Session,
    on_step: Progress | None = None,
) -> Evaluator:
    """The evaluator of a workload on a data set, kept by the session.

    Raises:
        InputError: a network without weights, or data that do not fit it.
    """
    from npubench.accuracy.calibrate import parse_calibration
    from npubench.accuracy.datasets import open_dataset
    from npubench.accuracy.evaluator import Evaluator
    from npubench.accuracy.model import open_model

    loaded = session.network(workload, dims)
    found = find_workload(workload)
    path = found.path if isinstance(found, WorkloadEntry) else found
    key = ("evaluator", workload, tuple(sorted(dims.items())), replace(measuring, faults=None))
    return session.keep(
        key,
        lambda: Evaluator(
            model=open_model(path, loaded),
            dataset=open_dataset(measuring.dataset),
            own=loaded.plan,
            calibration=parse_calibration(measuring.calibration or DEFAULT_CALIBRATION),
            seed=measuring.seed,
            samples=measuring.samples,
            on_step=on_step,
        ),
    )


def executed_plan(legalised: Legalised) -> PrecisionPlan:
    """What the machine runs, with the number representation that was asked for."""
    requested = legalised.requested
    return replace(legalised.executed, scheme=requested.scheme, schemes=requested.schemes)


def find_accuracy(
    workload: str,
    dims: Mapping[str, int],
    loaded: LoadedNetwork,
    legalised: Legalised,
    measuring: Measuring | None,
    session: Session,
    knobs: Mapping[str, str],
    on_step: Progress | None = None,
) -> Accuracy:
    """Accuracy of an executed plan.

    Args:
        workload: as the user named it.
        dims: values of its symbolic dimensions.
        loaded: the same network.
        legalised: its plan on the machine.
        measuring: None to look into published tables only.
        session: keeps evaluators.
        knobs: of the machine.
        on_step: called with samples done and in all.

    Raises:
        InputError: as `open_evaluator`, or formats that cannot be executed.
    """
    plan = executed_plan(legalised)
    if measuring is None:
        return _published(loaded.network, plan)
    from npubench.accuracy.faults import Faults

    evaluator = open_evaluator(workload, dims, measuring, session, on_step)
    if measuring.faults is None:
        return measured(evaluator.measure(plan, sqnr=True))
    errors = fault_rate(measuring.faults, knobs)
    faults = Faults(errors.rate, measuring.seed)
    found = measured(evaluator.measure(plan, faults=faults, sqnr=True))
    origin = f"; errors of a {errors.source}" if errors.source else ""
    return replace(found, source=f"{found.source}{origin}")


def measured(found: Measurement) -> Accuracy:
    """A measurement as a result record."""
    return Accuracy(
        kind="measured",
        metric=found.metric,
        value=found.value,
        drop=found.drop,
        n=found.n,
        interval=found.interval,
        source=found.source,
        reference=found.reference,
        top5=found.top5,
        agreement=found.agreement,
        sqnr_db=dict(found.sqnr_db),
    )


def _published(network: Network, plan: PrecisionPlan) -> Accuracy:
    from npubench.accuracy.published import find_published_accuracy

    row = find_published_accuracy(network, plan)
    if row is None:
        return Accuracy()
    return Accuracy(
        kind="published",
        metric="top1",
        value=row.top1,
        drop=None if row.fp32_top1 is None else round(row.fp32_top1 - row.top1, 6),
        source=row.label,
        reference=row.fp32_top1,
    )
