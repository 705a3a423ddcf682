"""The schema of family ``system``: NPUs by reference to their own specs, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from npubench.specs.header import Name, SpecHeader
from npubench.specs.quantity import Bandwidth, Count, Quantity, SpecModel, refusal

__all__ = ["NpuSpec", "SharedMemorySpec", "SystemSpec"]

_ONE = Quantity(1.0, "dimensionless")
_Scalar = str | int | float | bool


class NpuSpec(SpecModel):
    """One NPU, or several equal ones.

    Attributes:
        spec: name of a shipped spec, or the path of a file, relative to the system's own.
        count: equal NPUs; of two or more, the names end in a number from 1.
        knobs: of that spec, as ``--knob`` sets them.
        set: other fields of that spec by dotted path, as ``--set`` sets them, after the knobs.
    """

    spec: str
    count: Count = _ONE
    knobs: dict[str, _Scalar] = Field(default_factory=dict)
    set: dict[str, _Scalar] = Field(default_factory=dict)


class SharedMemorySpec(SpecModel):
    """Off-chip memory that all NPUs share.

    Attributes:
        bandwidth: of the memory; an NPU never gets more than its own link carries.
        contention: what an NPU is left with while others work. ``all_busy``: its max-min fair
            share with every link at full demand, the least it can get; ``none``: as if alone.
    """

    bandwidth: Bandwidth
    contention: Literal["all_busy", "none"] = "all_busy"


class SystemSpec(SpecHeader):
    """A spec of family ``system``.

    Attributes:
        npus: by name; accuracy is counted from the first one's base mode.
        memory: shared by all; without it every NPU has the memory of its own spec to itself.
        idle: whether an NPU without work draws its static power (``leaking``) or none
            (``gated``) while another one runs.
    """

    npus: dict[Name, NpuSpec]
    memory: SharedMemorySpec | None = None
    idle: Literal["leaking", "gated"] = "leaking"

    @model_validator(mode="after")
    def _some_npus(self) -> SystemSpec:
        if not self.npus:
            raise refusal((("npus",), "needs at least one NPU", None))
        seen: dict[str, str] = {}
        for name, key in self.names():
            if name in seen:
                raise refusal((("npus", key), f"'{seen[name]}' has an NPU '{name}' too", None))
            seen[name] = key
        return self

    def names(self) -> Iterator[tuple[str, str]]:
        """Name of every NPU and the key of `npus` that it comes from."""
        for key, npu in self.npus.items():
            for index in range(npu.count.integer):
                yield (f"{key}{index + 1}" if npu.count.integer > 1 else key), key
