"""Small service tables and scenarios for the tests of serving."""

from __future__ import annotations

from npubench.serving import Length, NetworkLoad, Npu, Scenario, Service, ServiceTable, Size, to_ps

MS = 10**9  # picoseconds
S = to_ps(1e-3)  # the unit of service time in these tests: one millisecond


def one_npu(
    service_ps: int = S, *, speedup: float | None = None, drop: float | None = 0.5, layers: int = 0
) -> ServiceTable:
    """One network on one NPU; with a speed-up, in base and burst mode."""
    modes = ("base",) if speedup is None else ("base", "burst")
    services = []
    for mode in modes:
        time_ps = service_ps if mode == "base" else round(service_ps / (speedup or 1))
        ends = tuple(time_ps * (k + 1) // layers for k in range(layers)) if layers else ()
        services.append(
            Service(
                "net",
                "npu",
                mode,
                (time_ps,),
                (2e-3 if mode == "base" else 1e-3,),
                0.0 if mode == "base" else drop,
                ends,
            )
        )
    return ServiceTable("toy", (Npu("npu", modes),), tuple(services), {"net": 80.0})


def twins(count: int, service_ps: int = S) -> ServiceTable:
    """One network on several equal NPUs."""
    npus = tuple(Npu(f"npu{index}", ("base",)) for index in range(count))
    services = tuple(Service("net", npu.name, "base", (service_ps,), (1e-3,), 0.0) for npu in npus)
    return ServiceTable("twins", npus, services, {"net": 80.0})


def networks_on_one(times_ps: dict[str, int], layers: int = 0, **npu: int) -> ServiceTable:
    """Several networks on one NPU of one mode."""
    services = tuple(
        Service(
            name,
            "npu",
            "base",
            (ps,),
            (1e-3,),
            0.0,
            tuple(ps * (k + 1) // layers for k in range(layers)) if layers else (),
        )
        for name, ps in times_ps.items()
    )
    return ServiceTable("mix", (Npu("npu", ("base",), **npu),), services)


def load(
    value: float,
    requests: int = 100_000,
    *,
    size: str = "constant",
    cv: float = 1.0,
    slo: float = 10.0,
    **fields: object,
) -> Scenario:
    """Poisson arrivals of one network at a share of the nominal capacity."""
    network = NetworkLoad("net", slo_isolated=slo, size=Size(size, cv))
    return Scenario("test", (network,), load=value, length=Length(requests), **fields)
