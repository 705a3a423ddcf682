"""Digital PE arrays with a memory hierarchy."""

from npubench.machines.array.machine import ArrayMachine, build

__all__ = ["ArrayMachine", "build"]
