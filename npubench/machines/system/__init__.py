"""Several NPUs of any family under one roof, with the memory they share."""

from npubench.machines.system.machine import SystemMachine, build

__all__ = ["SystemMachine", "build"]
