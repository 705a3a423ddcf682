"""What any spec may say of the modes it runs in and of the scheduler that chooses among them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from npubench.specs.quantity import Duration, Energy, Fraction, Points, Refused, SpecModel, refusal

__all__ = ["ModeSpec", "SchedulerSpec"]


class ModeSpec(SpecModel):
    """One way to run the same machine; a spec without modes has one, its default precision.

    Attributes:
        precision: asked for in this mode, as ``--precision`` takes it; without it, what the spec
            runs by default.
        knobs: of the spec, as they stand in this mode.
    """

    precision: str | None = None
    knobs: dict[str, str] = Field(default_factory=dict)


class SchedulerSpec(SpecModel):
    """Who decides which request runs where and in which mode, unless the user names a policy.

    Attributes:
        policy: name of a policy of `npubench.serving`.
        switch_at: when a running request may change its mode.
        margin: share of the bound by which base mode must clear every deadline before a
            scheduler with a burst mode returns to it.
        threshold: requests present above which policy ``threshold`` bursts.
        accuracy_drop: most points a request may lose against its network's base.
        assignment: network to NPU, for policy ``static``.
        switch_time, switch_energy: of going from one mode to another, where the family does not
            count them itself.
    """

    policy: str
    switch_at: Literal["instant", "layer", "request"] | None = None
    margin: Fraction | None = None
    threshold: int | None = Field(default=None, ge=0)
    accuracy_drop: Points | None = None
    assignment: dict[str, str] = Field(default_factory=dict)
    switch_time: Duration | None = None
    switch_energy: Energy | None = None

    @field_validator("policy")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name.strip():
            wrong: Refused = ((), "expected the name of a policy, got nothing", None)
            raise refusal(wrong)
        return name.strip()
