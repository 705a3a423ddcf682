"""Requests, policies and the simulation of systems under load; reads service times, never layers.

`simulate` runs a `Scenario` on a `ServiceTable` under a `Policy`; `find_load` searches for the
largest load within the bounds; `load_scenario` reads a scenario file.
"""

from npubench.serving.estimates import Estimate
from npubench.serving.policy import POLICIES, Policy, named_policy
from npubench.serving.result import LoadResult, ServeResult
from npubench.serving.scenario import (
    Batching,
    Bursty,
    Diurnal,
    Length,
    NetworkLoad,
    Poisson,
    Scenario,
    Size,
    Trace,
    Uniform,
)
from npubench.serving.scenario_file import list_scenarios, load_scenario
from npubench.serving.search import find_load
from npubench.serving.simulate import simulate
from npubench.serving.table import Npu, Service, ServiceTable, to_ps
from npubench.serving.trace import read_trace

__all__ = [
    "POLICIES",
    "Batching",
    "Bursty",
    "Diurnal",
    "Estimate",
    "Length",
    "LoadResult",
    "NetworkLoad",
    "Npu",
    "Poisson",
    "Policy",
    "Scenario",
    "ServeResult",
    "Service",
    "ServiceTable",
    "Size",
    "Trace",
    "Uniform",
    "find_load",
    "list_scenarios",
    "load_scenario",
    "named_policy",
    "read_trace",
    "simulate",
    "to_ps",
]
