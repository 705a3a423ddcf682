"""A serving answer as the JSON object of ``schemas/serve.1.json``.

At its top level stand the plain figures of the first result, which is the reference system at its
first load; ``results`` has every system, policy and load in full, with intervals.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from npubench.serving import LoadResult, ServeResult
from npubench.study.serialise import SERVE
from npubench.study.serve import Served, Serving

__all__ = ["serving_to_json"]

JsonObject = dict[str, Any]


def serving_to_json(serving: Serving, *, complete: bool = True) -> JsonObject:
    """The JSON object; ``complete`` is false where an interrupt left results out."""
    prepared = serving.prepared
    first = serving.served[0] if serving.served else None
    return {
        "schema": SERVE,
        "stamp": dataclasses.asdict(serving.stamp),
        **_head(prepared.scenario.name, first),
        "kind": prepared.scenario.kind,
        "reference": prepared.systems[0].name,
        "complete": complete,
        "bounds": {network.name: network.slo_s for network in prepared.scenario.networks},
        "results": [_served(one) for one in serving.served],
        "systems": [
            {
                "system": system.name,
                "policies": [policy.name for policy in system.policies],
                "services": [
                    {
                        "network": service.network,
                        "npu": service.npu,
                        "mode": service.mode,
                        "time_s": [ps / 1e12 for ps in service.time_ps],
                        "energy_j": list(service.energy_j) or None,
                        "accuracy_drop": service.accuracy_drop,
                    }
                    for service in system.table.services
                ],
                "notes": list(system.notes),
            }
            for system in prepared.systems
        ],
        "notes": list(prepared.bounds),
    }


def _head(scenario: str, first: Served | None) -> JsonObject:
    """The figures of one result as plain numbers."""
    result = None if first is None else first.result
    if result is None:
        system = None if first is None else first.system.name
        return {"system": system, "scenario": scenario} | dict.fromkeys(_HEAD)
    return {
        "system": result.system,
        "scenario": scenario,
        "load_rps": result.load_rps,
        "requests": result.requests,
        "latency_s": {
            name: getattr(result.latency_s, name).value
            for name in ("mean", "p50", "p90", "p99", "p999")
        },
        "goodput_rps": result.goodput_rps.value,
        "slo_attainment": result.slo_attainment.value,
        "burst_share": result.burst_share.value,
        "energy_j_per_request": result.energy_j_per_request.value,
        "accuracy": result.accuracy.value,
        "saturated": result.saturated,
    }


_HEAD = (
    "load_rps",
    "requests",
    "latency_s",
    "goodput_rps",
    "slo_attainment",
    "burst_share",
    "energy_j_per_request",
    "accuracy",
    "saturated",
)


def _served(one: Served) -> JsonObject:
    return {
        "system": one.system.name,
        "policy": one.policy.name,
        "found": None if one.found is None else _found(one.found),
        "result": None if one.result is None else _result(one.result),
    }


def _found(found: LoadResult) -> JsonObject:
    return {
        "rate_rps": _value(found.rate_rps),
        "load": _value(found.load),
        "percentile": found.percentile,
        "brackets_rps": [list(bracket) for bracket in found.brackets],
        "probes": _value(found.probes),
        "reason": found.reason,
    }


def _result(result: ServeResult) -> JsonObject:
    skipped = ("records", "system", "policy", "scenario", "kind")
    return {
        field.name: _value(getattr(result, field.name))
        for field in dataclasses.fields(result)
        if field.name not in skipped
    }


def _value(value: Any) -> Any:
    """Estimates, records and tuples of records as plain objects."""
    if isinstance(value, tuple):
        return [_value(part) for part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _value(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return value
