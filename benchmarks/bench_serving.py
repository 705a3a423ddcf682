"""Requests simulated per second, beside SimPy running the same policies on the same arrivals.

    python benchmarks/bench_serving.py [requests] [--check]

Three systems at 80 % load, M/D/1-like: one NPU, first come first served; one NPU under Stimpack's
scheduler; four NPUs of two kinds under the rule of HDA-Q. Each SimPy program is the plain reading
of its policy, one process per request or per NPU; its finish times must equal npubench's. SimPy is
no dependency of npubench: `pip install simpy` first. CPU seconds, best of three. Peak memory is
that of a process of its own, without records kept. With --check, exit 1 where a bound does not
hold: equal finishes, five times SimPy, ten times the event loop by recursion, memory that does
not grow with the number of requests.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simpy

from npubench.serving import (
    Length,
    NetworkLoad,
    Npu,
    Scenario,
    Service,
    ServiceTable,
    simulate,
)

MS = 10**9
BASE, BURST = MS, MS * 2 // 3
REPEATS = 3
# Requests up to which latencies are kept one by one; beyond, memory must not grow.
EXACT_LIMIT = 1_000_000
LEAST_RATIO = 5
LEAST_RECURSION = 10  # times the event loop
MOST_GROWTH = 1.1


def one_npu() -> ServiceTable:
    services = tuple(
        Service("net", "npu", mode, (ps,)) for mode, ps in (("base", BASE), ("burst", BURST))
    )
    return ServiceTable("one", (Npu("npu", ("base", "burst")),), services)


def four_npus() -> ServiceTable:
    npus = tuple(Npu(f"npu{k}", ("w8a8",) if k < 2 else ("w6a6",)) for k in range(4))
    services = tuple(
        Service(
            name,
            npu.name,
            npu.modes[0],
            (ps if k < 2 else ps * 5 // 6,),
            (),
            0.0 if k < 2 else drop,
        )
        for k, npu in enumerate(npus)
        for name, ps, drop in (("a", BASE, 0.2), ("b", 2 * BASE, 0.9), ("c", BASE // 2, 0.4))
    )
    return ServiceTable("four", npus, services)


def scenario(names: str, requests: int) -> Scenario:
    networks = tuple(NetworkLoad(name, slo_isolated=10) for name in names.split())
    return Scenario("bench", networks, load=0.8, length=Length(requests))


def simpy_fifo(arrivals: list[int], networks: list[int]) -> list[int]:  # noqa: ARG001 (same shape)
    env = simpy.Environment()
    npu = simpy.Resource(env, 1)
    ends = [0] * len(arrivals)

    def request(number: int):
        with npu.request() as turn:
            yield turn
            yield env.timeout(BASE)
        ends[number] = env.now

    def source():
        for number, when in enumerate(arrivals):
            yield env.timeout(when - env.now)
            env.process(request(number))

    env.process(source())
    env.run()
    return ends


# The networks are not looked at; the signature is that of the other peers.
def simpy_stimpack(arrivals: list[int], networks: list[int]) -> list[int]:  # noqa: ARG001 (shape)
    """As `npubench.serving.modes.Stimpack`: one comparison a request while calm, else a scan."""
    env = simpy.Environment()
    slo, reserve = 10 * BASE, BASE
    queue = simpy.Store(env)
    ends = [0] * len(arrivals)
    state = {"alarm": False, "clear_at": 0}

    def source():
        for number, when in enumerate(arrivals):
            yield env.timeout(when - env.now)
            state["clear_at"] = max(state["clear_at"], when) + BASE
            if state["clear_at"] > when + slo:
                state["alarm"] = True
            queue.put(number)

    def npu():
        while True:
            head = yield queue.get()
            service = BASE
            if state["alarm"]:
                reached, calm = env.now, True
                for number in (head, *queue.items):
                    reached += BASE
                    calm = calm and reached + reserve <= arrivals[number] + slo
                state["alarm"] = not calm
                state["clear_at"] = reached
                service = BASE if calm else BURST
            yield env.timeout(service)
            ends[head] = env.now

    env.process(source())
    env.process(npu())
    env.run()
    return ends


def simpy_hda(arrivals: list[int], networks: list[int]) -> list[int]:
    env = simpy.Environment()
    slow, fast = (BASE, 2 * BASE, BASE // 2), (BASE * 5 // 6, 2 * BASE * 5 // 6, BASE // 2 * 5 // 6)
    admissible = ((0, 1, 2, 3), (0, 1), (0, 1, 2, 3))
    npus = [simpy.Resource(env, 1) for _ in range(4)]
    free = [0] * 4
    ends = [0] * len(arrivals)

    def request(number: int, npu: int, service: int):
        with npus[npu].request() as turn:
            yield turn
            yield env.timeout(service)
        ends[number] = env.now

    def source():
        for number, when in enumerate(arrivals):
            yield env.timeout(when - env.now)
            network = networks[number]
            found = {
                npu: max(free[npu], when) + (slow if npu < 2 else fast)[network]
                for npu in admissible[network]
            }
            npu = min(found, key=found.__getitem__)
            free[npu] = found[npu]
            env.process(request(number, npu, (slow if npu < 2 else fast)[network]))

    env.process(source())
    env.run()
    return ends


def best(run: Callable[[], object]) -> float:
    """Least CPU seconds of several runs."""
    seconds = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return min(seconds)


Peer = Callable[[list[int], list[int]], list[int]]


def compare(
    title: str, table: ServiceTable, names: str, policy: str, peer: Peer, n: int
) -> tuple[bool, float]:
    """One line: both rates, and whether the finishes are the same.

    Whether the bounds hold, and our rate in millions a second.
    """
    rate = n / best(lambda: simulate(table, scenario(names, n), policy, general_loop=True)) / 1e6
    small = max(n // 10, 10_000)
    records = simulate(table, scenario(names, small), policy, keep_records=True).records
    arrivals, networks = records["arrival_ps"].tolist(), records["network"].tolist()
    same = peer(arrivals, networks) == records["finish_ps"].tolist()
    peer_rate = small / best(lambda: peer(arrivals, networks)) / 1e6
    print(f"{title:<18}{rate:>10.2f}{peer_rate:>10.3f}{rate / peer_rate:>7.1f}x   {same}")
    return same and rate >= LEAST_RATIO * peer_rate, rate


MEMORY = """
import resource, sys
sys.path.insert(0, {folder!r})
from bench_serving import one_npu, scenario
from npubench.serving import simulate
simulate(one_npu(), scenario("net", {n}), "stimpack")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mib(n: int) -> float:
    """Peak resident memory of a process that simulates so many requests, MiB."""
    program = MEMORY.format(folder=str(Path(__file__).parent), n=n)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main(requests: int) -> bool:
    print(f"{requests} requests (SimPy: a tenth), 80 % load, statistics included; M requests/s")
    print(f"{'system':<18}{'npubench':>10}{'SimPy':>10}{'ratio':>8}   same finishes")
    lines = [
        compare("1 NPU, FIFO", one_npu(), "net", "fifo", simpy_fifo, requests),
        compare("1 NPU, Stimpack", one_npu(), "net", "stimpack", simpy_stimpack, requests),
        compare("4 NPUs, HDA-Q", four_npus(), "a b c", "hda_q", simpy_hda, requests),
    ]
    held, general = [ok for ok, _ in lines], lines[0][1]
    many = 10 * requests
    fast = many / best(lambda: simulate(one_npu(), scenario("net", many), "fifo")) / 1e6
    print(f"FIFO by Lindley's recursion, {many} requests: {fast:.1f}")
    held.append(fast >= LEAST_RECURSION * general)
    service = np.full(many, BASE)
    arrivals = np.cumsum(np.random.default_rng(0).integers(1, 2 * BASE * 5 // 4, many))

    def recursion() -> object:
        sums = np.cumsum(service)
        return np.maximum.accumulate(arrivals - sums + service) + sums

    print(
        f"the recursion alone, without arrivals and statistics: {many / best(recursion) / 1e6:.0f}"
    )
    few, more = peak_mib(2 * EXACT_LIMIT), peak_mib(6 * EXACT_LIMIT)
    print(
        f"peak memory, Stimpack, {2 * EXACT_LIMIT} and {6 * EXACT_LIMIT} requests: "
        f"{few:.0f} and {more:.0f} MiB"
    )
    held.append(more <= few * MOST_GROWTH)
    return all(held)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:] if text != "--check"]
    ok = main(numbers[0] if numbers else 1_000_000)
    sys.exit(1 if "--check" in sys.argv and not ok else 0)
