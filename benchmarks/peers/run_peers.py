"""npubench against ZigZag and SCALE-Sim on the same layers, in one go.

    python benchmarks/peers/run_peers.py                             everything, about an hour
    python benchmarks/peers/run_peers.py --only zigzag --networks resnet18 --limit 7
    python benchmarks/peers/run_peers.py --layers 2                  the first two layers of each

The peers are installed from their package index into an environment of their own. Every side gets
the same distinct layers, start-up and imports included. ZigZag and npubench search the same
machine by the same rules of counting, nothing kept on chip between layers; SCALE-Sim and npubench
count the cycles of the same array. What the peers said is kept layer by layer in a file, so that a
run that was cut short goes on where it was; `--report` prints from that file without running them.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kept import Kept, Record, key_of, machine_name
from layers import distinct_nests, write_onnx, write_topology
from peer_env import PACKAGES, peer_python
from sides import ROOT, Ours, measure_ours, peer_lines

from npubench.ir import LoopNest

HERE = Path(__file__).resolve().parent
ZIGZAG_HARDWARE = HERE / "zigzag_ws32x32_int8.yaml"
SUM_BITS = 32  # of the accumulators of `ws32x32_int8`
ZIGZAG_MAPPING = HERE / "zigzag_ws32x32_int8.mapping.yaml"
SCALESIM_HARDWARE = HERE / "scalesim_ws32x32.yaml"
NETWORKS = {
    "zigzag": ("resnet18", "alexnet", "bert_base", "mobilenet_v2", "resnet50"),
    "scalesim": ("alexnet", "resnet18"),
}
COLUMNS = (
    "work",
    "peer",
    "layers",
    "CPU s, peer",
    "CPU s, `npubench run`",
    "ratio",
    "CPU s, mapping alone",
    "ratio",
    "MiB, peer",
    "MiB, ours",
    "mappings/s, peer",
    "choices/s, ours",
    "energy, ours / peer",
    "cycles, ours / peer",
)


@dataclass(frozen=True)
class Theirs:
    """A peer on some layers: its results, layer by layer, as they are kept."""

    rows: tuple[Record, ...]

    @property
    def cpu_s(self) -> float:
        """Start-up once, and every layer."""
        starts = self.column("start_cpu_s")
        return sum(self.column("cpu_s")) + sum(starts) / len(starts)

    @property
    def peak_mib(self) -> float:
        """The largest of all."""
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return max(float(row["peak_kib"]) for row in self.rows) / unit

    def column(self, name: str) -> list[float]:
        """A figure of every layer."""
        return [float(row[name]) for row in self.rows]


@dataclass(frozen=True)
class Peer:
    """A peer at one setting."""

    tool: str
    settings: tuple[str, ...]
    files: tuple[Path, ...]
    python: str

    def write(self, nest: LoopNest, path: Path) -> Path:
        """A file of this layer alone, as the peer reads it."""
        if self.tool == "zigzag":
            write_onnx([nest], path.with_suffix(".onnx"), sum_bits=SUM_BITS)
            return path.with_suffix(".onnx")
        write_topology([nest], path.with_suffix(".csv"))
        return path.with_suffix(".csv")

    def key(self, nest: LoopNest, folder: Path) -> str:
        """Names a result: tool and setting, and everything that the peer reads."""
        read = (*self.files, self.write(nest, folder / "key"))
        return key_of(f"{self.tool} {release(self.tool)}", self.settings, read)

    def run(self, nests: Sequence[LoopNest], kept: Kept, folder: Path) -> None:
        """Run the layers that are not kept yet, keeping each as it is done."""
        left = [nest for nest in nests if self.key(nest, folder) not in kept.found]
        names = [f"layer{index}" for index in range(len(left))]
        paths = [self.write(n, folder / name) for n, name in zip(left, names, strict=True)]
        command = [self.python, str(HERE / f"{self.tool}_side.py"), *map(str, self.files)]
        command += self.settings
        if not left:
            return
        start = 0.0
        for line in peer_lines([*command, *map(str, paths)], folder):
            if "start_cpu_s" in line:
                start = line["start_cpu_s"]
                continue
            nest = left[names.index(line.pop("name"))]
            key = self.key(nest, folder)
            record = kept.add(key, {"start_cpu_s": start, "layer": shown(nest), **line})
            print(f"  {self.tool}: {shown(nest)}: {record['cpu_s']:.1f} CPU s", flush=True)


def shown(nest: LoopNest) -> str:
    """A layer in a word: its loops longer than 1, and its stride."""
    loops = " ".join(f"{dim}{n}" for dim, n in nest.bounds.items() if n > 1)
    return loops if max(nest.stride) == 1 else f"{loops} /{max(nest.stride)}"


def chosen(network: str, peer: Peer, most: int | None) -> list[LoopNest]:
    """The layers of a network that the peer can run."""
    nests, left_out = distinct_nests(ROOT / "workloads" / f"{network}.onnx")
    if peer.tool == "scalesim":
        left_out += sum(nest.G > 1 or nest.B > 1 for nest in nests)
        nests = [nest for nest in nests if nest.G == 1 and nest.B == 1]
    if left_out:
        print(f"  {left_out} distinct layers left out: {peer.tool} reads them otherwise")
    return nests[:most]


def above(
    label: str, nests: Sequence[LoopNest], ours: Sequence[float], theirs: Sequence[float]
) -> None:
    """Print the layers on which a figure of ours is above theirs."""
    worse = [
        f"{shown(nest)} x{a / b:.5f}"
        for nest, a, b in zip(nests, ours, theirs, strict=True)
        if a > b * (1 + 1e-9)
    ]
    total = f"{sum(ours):,.0f} / {sum(theirs):,.0f} = {sum(ours) / sum(theirs):.4f}"
    print(f"  {label}: {total}; above the peer on {len(worse)} of {len(nests)} layers")
    for line in worse:
        print(f"    {line}")


def compare(
    network: str, peer: Peer, kept: Kept, options: argparse.Namespace
) -> tuple[str, ...] | None:
    """Both sides on a network's layers, printed; a row of the table."""
    lpf = f", lpf_limit {peer.settings[1]}" if peer.tool == "zigzag" else ""
    if lpf and options.buffer != 1024:
        lpf += f", buffer of {options.buffer} KiB"
    print(f"\n{network}, {peer.tool} {release(peer.tool)}{lpf}", flush=True)
    nests = chosen(network, peer, options.layers)
    whole = len(nests)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.report:
            peer.run(nests, kept, folder)
        nests = [nest for nest in nests if peer.key(nest, folder) in kept.found]
        if not nests:
            print("  no layer of it is kept")
            return None
        theirs = Theirs(tuple(kept.found[peer.key(nest, folder)] for nest in nests))
        days = sorted({row["day"] for row in theirs.rows})
        print(f"  the peer's {len(nests)} of {whole} layers ran on {', '.join(days)}")
        model = folder / f"{network}.onnx"
        write_onnx(nests, model)
        if peer.tool == "zigzag":
            runs = _beside_zigzag(model, nests, theirs, options)
        else:
            runs = _beside_scalesim(model, nests, theirs, options.repeat)
    ours, energy, cycles = runs
    mapped = "-" if peer.tool == "scalesim" else f"{ours.candidates / ours.map_cpu_s:,.0f}"
    rate = "-"
    if peer.tool == "zigzag":
        seconds = sum(theirs.column("cpu_s"))
        rate = f"{sum(theirs.column('candidates')) / seconds:,.0f}"
    row = (
        network,
        f"{'ZigZag' if lpf else 'SCALE-Sim'} {release(peer.tool)}{lpf}",
        f"{len(nests)} of {whole}",
        f"{theirs.cpu_s:.1f}",
        f"{ours.cpu_s:.2f}",
        f"{theirs.cpu_s / ours.cpu_s:.0f}",
        f"{ours.map_cpu_s:.3f}",
        f"{theirs.cpu_s / ours.map_cpu_s:.0f}",
        f"{theirs.peak_mib:.0f}",
        f"{ours.peak_mib:.0f}",
        rate,
        mapped,
        energy,
        cycles,
    )
    for column, value in zip(COLUMNS[3:], row[3:], strict=True):
        print(f"  {column:24s} {value:>10s}")
    return row


def _beside_zigzag(
    model: Path, nests: Sequence[LoopNest], theirs: Theirs, options: argparse.Namespace
) -> tuple[Ours, str, str]:
    """Ours by ZigZag's rules, for energy and for latency; with our own rules for the record."""
    joules, repeat = theirs.column("energy_pj"), options.repeat
    machine = (f"memories.buffer.capacity={options.buffer} KiB",)
    counting = (*machine, "counting=zigzag")
    energy = measure_ours(model, "ws32x32_int8", "energy", counting, repeat)
    latency = measure_ours(model, "ws32x32_int8", "latency", counting, repeat)
    ours = [value * 1e12 for value in energy.column("energy_j")]
    above("energy [pJ], each searched for it", nests, ours, joules)
    best = theirs.column("least_cycles")
    label = "cycles, ours searched for them, theirs the least of all mappings it tried"
    above(label, nests, latency.column("cycles"), best)
    own = measure_ours(model, "ws32x32_int8", "energy", machine, 1)
    ratio = sum(own.column("energy_j")) * 1e12 / sum(joules)
    print(f"  by our own rules of counting: energy {ratio:.4f} of theirs")
    print(f"  layers of ours not proven: {energy.unproven} (energy), {latency.unproven} (latency)")
    print(
        f"  our search for latency: {latency.cpu_s:.2f} CPU s in all, {latency.map_cpu_s:.3f} "
        "for the mapping alone (the table has the one for energy)"
    )
    return (
        energy,
        f"{sum(ours) / sum(joules):.4f}",
        f"{sum(latency.column('cycles')) / sum(best):.4f}",
    )


def _beside_scalesim(
    model: Path, nests: Sequence[LoopNest], theirs: Theirs, repeat: int
) -> tuple[Ours, str, str]:
    """Cycles of the array; SCALE-Sim's last cycle counts from 0, so it says one less a layer."""
    ours = measure_ours(model, str(SCALESIM_HARDWARE), "latency", (), repeat)
    counted = [cycles + 1 for cycles in theirs.column("cycles")]
    equal = sum(a == b for a, b in zip(ours.array_cycles(), counted, strict=True))
    print(f"  cycles of the array: equal on {equal} of {len(nests)} layers, theirs + 1")
    return ours, "-", f"{sum(ours.array_cycles()) / sum(counted):.6f}"


def release(tool: str) -> str:
    return PACKAGES["zigzag-dse" if tool == "zigzag" else tool]


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", type=Path, default=HERE / ".venv", help="the peers' environment")
    parser.add_argument("--only", choices=("zigzag", "scalesim"), help="one peer")
    parser.add_argument("--networks", type=names, help="of the catalog, with commas")
    parser.add_argument("--layers", type=int, help="the first so many distinct layers of each")
    parser.add_argument(
        "--limit", type=int, default=6, help="ZigZag's lpf_limit; 7 takes six times as long"
    )
    parser.add_argument(
        "--buffer", type=int, default=1024, help="KiB of the buffer of both, for ZigZag and ours"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the median counts")
    parser.add_argument(
        "--kept", type=Path, default=HERE / ".kept.jsonl", help="where the peers' results stay"
    )
    parser.add_argument("--fresh", action="store_true", help="run the peers anew")
    parser.add_argument("--report", action="store_true", help="run no peer; only what is kept")
    options = parser.parse_args()
    if options.report and options.fresh:
        parser.error("--report takes what is kept, --fresh does not")
    kept = Kept.open(options.kept, fresh=options.fresh)
    python = "" if options.report else peer_python(options.env.resolve())
    with tempfile.TemporaryDirectory() as name:
        hardware = with_buffer(ZIGZAG_HARDWARE, options.buffer, Path(name))
        report(options, kept, hardware, python)
    return 0


def with_buffer(hardware: Path, kib: int, folder: Path) -> Path:
    """ZigZag's machine with a buffer of another size."""
    text, whole = hardware.read_text(), f"size: {1024 * 8192}\n"
    if text.count(whole) != 1:
        raise SystemExit(f"{hardware.name}: expected one line '{whole.strip()}'")
    path = folder / hardware.name
    path.write_text(text.replace(whole, f"size: {kib * 8192}\n"))
    return path


def report(options: argparse.Namespace, kept: Kept, hardware: Path, python: str) -> None:
    """Every network beside every peer that is asked for, and the table of them all."""
    zigzag = Peer("zigzag", ("energy", str(options.limit)), (hardware, ZIGZAG_MAPPING), python)
    scalesim = Peer("scalesim", ("32",), (), python)
    table: list[tuple[str, ...]] = []
    for peer in (zigzag, scalesim):
        if options.only in (None, peer.tool):
            for network in options.networks or NETWORKS[peer.tool]:
                row = compare(network, peer, kept, options)
                if row is not None:
                    table.append(row)
                sys.stdout.flush()
    print(f"\n{machine_name()}, {datetime.datetime.now(datetime.UTC).date()}\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in table:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    raise SystemExit(main())
