"""Bit-serial word-parallel associative processors: microprograms, bit-exact emulator, cost."""

from npubench.machines.associative.machine import AssociativeMachine, build

__all__ = ["AssociativeMachine", "build"]
