"""Policies by name: the order of a queue, the NPU of a request, the mode it runs in.

A policy is data; `npubench.serving.plant` checks it against a service table, and
`npubench.serving.engine` carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from npubench.errors import InputError, Problem, did_you_mean

__all__ = ["POLICIES", "Policy", "SwitchAt", "named_policy"]

SwitchAt: TypeAlias = Literal["instant", "layer", "request"]


@dataclass(frozen=True)
class Policy:
    """How requests are served.

    Attributes:
        name: for results.
        order: of each queue. ``fifo``; ``edf``, earliest deadline; ``sjf``, least predicted
            service; ``prema``, PREMA's tokens. Ties in arrival order.
        placement: ``central``: one queue, any idle NPU takes from it, and a request that finds
            several idle goes to the one that serves it fastest. All others choose an NPU on
            arrival, and it keeps its own queue: ``least_response``, where work in front and own
            service end first (the rule of HDA-Q); ``fastest`` and ``least_energy``, least service
            time or energy, whatever waits there; ``static``, by ``assignment``. Ties go to the
            NPU that the table lists first.
        modes: ``fixed``: each network in one mode per NPU, the base mode unless ``mode``,
            ``allowed_modes`` or ``accuracy_drop`` say more; ``stimpack``: base until a deadline
            is in danger, then the network's burst mode (see `npubench.serving.plant.Plant`);
            ``threshold``: the burst mode while more than ``threshold`` requests are present;
            ``per_request``: the most accurate mode that meets the request's own deadline.
        mode: the mode of ``fixed`` by name, on NPUs that have it.
        allowed_modes: names of the only modes that may be used; empty for all.
        accuracy_drop: most points that a mode may lose against the network's base; with
            ``fixed``, each NPU then runs each network in its fastest (``least_energy``: leanest)
            admissible mode. A drop that nobody measured is not admissible.
        assignment: network to NPU, for ``static``.
        preempt: whether the order may interrupt a running request at the end of a layer.
        switch_at: when a running request may change its mode.
        margin: share of the bound by which the base-mode prediction must clear every deadline
            before ``stimpack`` returns to base.
        threshold: requests present above which ``threshold`` bursts.
    """

    name: str
    order: Literal["fifo", "edf", "sjf", "prema"] = "fifo"
    placement: Literal["central", "least_response", "fastest", "least_energy", "static"] = "central"
    modes: Literal["fixed", "stimpack", "threshold", "per_request"] = "fixed"
    mode: str | None = None
    allowed_modes: tuple[str, ...] = ()
    accuracy_drop: float | None = None
    assignment: Mapping[str, str] = field(default_factory=dict)
    preempt: bool = False
    switch_at: SwitchAt = "request"
    margin: float = 0.1
    threshold: int = 3

    def __post_init__(self) -> None:
        wrong = [f"policy {self.name}: {text}" for text in _mistakes(self)]
        if wrong:
            raise InputError(*wrong)

    @property
    def retimes(self) -> bool:
        """Whether a request's finish may move after it started."""
        return self.preempt or self.switch_at != "request"


def _mistakes(policy: Policy) -> Iterator[str]:
    if policy.modes != "fixed" and policy.order != "fifo":
        yield f"modes '{policy.modes}' predict in arrival order: order must be fifo"
    if policy.modes == "fixed" and policy.switch_at != "request":
        yield "switch_at needs a policy that changes modes"
    if policy.modes == "per_request" and policy.switch_at != "request":
        yield "per_request chooses when a request starts: switch_at must be request"
    if policy.preempt and policy.order == "fifo":
        yield "fifo never preempts"
    if policy.mode is not None and policy.modes != "fixed":
        yield "mode needs modes: fixed"
    if (policy.placement == "static") != bool(policy.assignment):
        yield "placement static and an assignment go together"
    if not 0 <= policy.margin < math.inf:
        yield f"margin must be at least 0, got {policy.margin:g}"
    if policy.threshold < 0:
        yield f"threshold must be at least 0, got {policy.threshold}"
    if policy.accuracy_drop is not None and not 0 <= policy.accuracy_drop < math.inf:
        yield f"accuracy_drop must be at least 0 points, got {policy.accuracy_drop:g}"


def _named(*policies: Policy) -> Mapping[str, Policy]:
    return MappingProxyType({policy.name: policy for policy in policies})


# HDA's threshold is 0.5 points (Spantidi et al., IEEE TETC 11(1), 2023, abstract).
_HDA_DROP: Final = 0.5

POLICIES: Final = _named(
    Policy("fifo"),
    Policy("edf", order="edf"),
    Policy("sjf", order="sjf"),
    Policy("prema", order="prema", preempt=True),
    Policy("least_response", placement="least_response"),
    Policy("stimpack", placement="least_response", modes="stimpack"),
    Policy("threshold", placement="least_response", modes="threshold", switch_at="instant"),
    Policy("per_request", placement="least_response", modes="per_request"),
    Policy("hda_q", placement="least_response", accuracy_drop=_HDA_DROP),
    Policy("fastest", placement="fastest", accuracy_drop=_HDA_DROP),
    Policy("least_energy", placement="least_energy", accuracy_drop=_HDA_DROP),
    Policy("base_only", placement="least_response", accuracy_drop=0.0),
    Policy("eight_bit", placement="least_response", allowed_modes=("w8a8",)),
)


def named_policy(name: str, **settings: Any) -> Policy:
    """A shipped policy, with fields of `Policy` set otherwise.

    Args:
        name: a key of `POLICIES`; ``-`` is ``_``; or ``static``, with its ``assignment``.
        settings: fields of `Policy`.

    Raises:
        InputError: an unknown name, or settings that contradict each other.
    """
    folded = name.lower().replace("-", "_")
    if folded == "static":
        return Policy("static", placement="static", **settings)
    if folded not in POLICIES:
        hint = did_you_mean(name, (*POLICIES, "static"), listed=len(POLICIES) + 1)
        raise InputError(Problem(f"unknown policy '{name}'", hint=hint))
    return replace(POLICIES[folded], **settings)
