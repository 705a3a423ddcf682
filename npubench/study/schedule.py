"""Consecutive inferences of one network, each at a precision of its own, on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from npubench.errors import OptionError
from npubench.machines.protocol import Switching
from npubench.precision.sources import find_plan
from npubench.study.run import RunRequest, make_stamp, run
from npubench.study.session import Session
from npubench.study.studies.record import Cell, StudyColumn, StudyResult, StudySection

__all__ = ["parse_schedule", "run_schedule"]

_COLUMNS = (
    StudyColumn("inference", "Inference", "number"),
    StudyColumn("precision", "Asked for"),
    StudyColumn("executed", "Executed"),
    StudyColumn("switch_s", "Switch", "quantity", "s"),
    StudyColumn("latency_s", "Latency", "quantity", "s"),
    StudyColumn("end_s", "Ends at", "quantity", "s"),
    StudyColumn("switch_j", "Switch", "quantity", "J"),
    StudyColumn("energy_j", "Energy", "quantity", "J"),
    StudyColumn("accuracy_published", "Top-1", "fixed", "%", published=True),
)


def parse_schedule(text: str) -> tuple[str, ...]:
    """``w8a8,w4a4,...``: one precision an inference.

    Raises:
        OptionError: nothing between two commas, or nothing at all.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise OptionError(
            f"--precision-schedule '{text}': expected precisions separated by commas, as w8a8,w4a4"
        )
    return parts


def run_schedule(
    request: RunRequest,
    schedule: Sequence[str],
    session: Session | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> StudyResult:
    """Run the inferences one after another; what a change of precision takes is the machine's word.

    Args:
        request: network, machine and options of every inference; its own precision is not used.
        schedule: precisions in order.
        session: shared with other runs.
        on_step: called with inferences done and in all.

    Raises:
        InputError: as a run.
    """
    session = session or Session()
    machine = session.machine(request.hardware, request.knobs, request.overrides)
    loaded = session.network(request.workload, request.dims)
    network = loaded.network.with_batch(request.batch)
    rows: list[tuple[Cell, ...]] = []
    before, end, joules, unknown = None, 0.0, 0.0, False
    for index, precision in enumerate(schedule, start=1):
        result = run(replace(request, precision=precision), session)
        plan = find_plan(precision, loaded.network, loaded.plan)
        after = machine.legalise(network, plan).executed
        switch: tuple[float | None, float | None] = (0.0, 0.0)
        if before is not None and dict(before.layers) != dict(after.layers):
            if isinstance(machine, Switching):
                switch = machine.mode_switch(network, before, after)
            else:
                switch, unknown = (None, None), True
        before = after
        totals = result.totals
        end += (switch[0] or 0.0) + totals.latency_s
        joules += (switch[1] or 0.0) + totals.energy_j * request.batch
        accuracy = result.accuracy
        top1 = accuracy.value if accuracy.kind == "published" else None
        rows.append(
            (
                *(index, precision, result.precision_summary[1], switch[0], totals.latency_s, end),
                *(switch[1], totals.energy_j * request.batch, top1),
            )
        )
        if on_step is not None:
            on_step(index, len(schedule))
    notes = [
        f"{len(rows)} executions of batch {request.batch} one after another take "
        f"{end:.4g} s and {joules:.4g} J, changes of precision included."
    ]
    if unknown:
        notes.append(
            f"What a change of precision takes on {machine.info.name} is not modelled; it is "
            "missing from the sums."
        )
    else:
        notes.append(
            "Switch: from the end of one inference to the start of the next where its widths are "
            "others, as the machine counts it."
        )
    section = StudySection(
        "schedule",
        f"{network.name} on {machine.info.name}",
        _COLUMNS,
        tuple(rows),
        notes=tuple(notes),
    )
    return StudyResult(
        "precision_schedule",
        "consecutive inferences, a precision each",
        {
            "workload": request.workload,
            "hw": request.hardware,
            "schedule": ",".join(schedule),
            **{f"knob.{name}": text for name, text in request.knobs.items()},
        },
        (section,),
        make_stamp(request.seed),
    )
