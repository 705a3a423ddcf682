"""What `npubench show` says of a network: its size, its operators, its layers."""

from __future__ import annotations

from typing import Any

from npubench.frontend import LoadedNetwork
from npubench.ir import Layer, MacLayer, MoveLayer, Network, UnknownLayer, VectorLayer
from npubench.report.table import Table, View, count, fixed, label, share
from npubench.report.text import plural
from npubench.units import engineering

__all__ = ["network_facts", "network_view"]


def network_view(loaded: LoadedNetwork, *, layers: bool = False) -> View:
    """A lowered network.

    Args:
        loaded: the network, and the precision plan its file states.
        layers: a table of every layer, which is then the CSV form too.
    """
    network = loaded.network
    operators, every = _operator_table(network), _layer_table(network)
    plain = all(_status(layer)[0] == "modelled" for layer in network.layers)
    shown = operators.without("status", "how") if plain else operators
    peak = network.peak_activations
    return View(
        title=(
            f"{network.name}: {engineering(network.macs, 'MAC')}, "
            f"{engineering(network.parameters, '_').removesuffix('_').rstrip()} parameters, "
            f"{plural(len(network.layers), 'layer')}"
        ),
        tables=(_tensor_table(network), shown, *((every,) if layers else ())),
        record=every if layers else operators,
        notes=(
            f"Peak activations {engineering(peak.bits / 8, 'B')}"
            f"{f' at {peak.layer}' if peak.layer else ''}, at the file's element types.",
            "Precision: "
            + ("none stated in the file." if loaded.plan is None else f"{loaded.plan.describe()}."),
            *(f"Assumed: {text}" for text in network.assumptions),
            f"Model sha256 {network.sha256[:8] or 'none'}.",
        ),
    )


def network_facts(network: Network) -> dict[str, Any]:
    """The same for machines, layers and operators apart."""
    return {
        "name": network.name,
        "sha256": network.sha256,
        "macs": network.macs,
        "parameters": network.parameters,
        "layers": len(network.layers),
        "peak_activation_bytes": -(-network.peak_activations.bits // 8),
        "inputs": {name: _tensor_facts(network, name) for name in network.inputs},
        "outputs": {name: _tensor_facts(network, name) for name in network.outputs},
    }


def _tensor_facts(network: Network, name: str) -> dict[str, Any]:
    tensor = network.tensors[name]
    return {"dtype": str(tensor.dtype), "shape": list(tensor.shape)}


def _tensor_table(network: Network) -> Table:
    ends = [("input", n) for n in network.inputs] + [("output", n) for n in network.outputs]
    rows = tuple(
        (way, name, str(network.tensors[name].dtype), _shape(network, name)) for way, name in ends
    )
    columns = (
        label("way", "Tensor"),
        label("name", "Name", "shorten"),
        label("dtype", "Type"),
        label("shape", "Shape", "wrap"),
    )
    return Table("", columns, rows)


def _shape(network: Network, name: str) -> str:
    return " x ".join(map(str, network.tensors[name].shape)) or "scalar"


def _status(layer: Layer) -> tuple[str, str]:
    if isinstance(layer, UnknownLayer):
        return "unknown", layer.reason
    return ("approximated", layer.approximation) if layer.approximation else ("modelled", "")


def _operator_table(network: Network) -> Table:
    groups: dict[tuple[str, str, str], list[Layer]] = {}
    for layer in network.layers:
        groups.setdefault((layer.op, *_status(layer)), []).append(layer)
    macs = {key: sum(layer.macs for layer in group) for key, group in groups.items()}
    columns = (
        label("op", "Operator", "shorten"),
        fixed("layers", "Layers", 0),
        count("macs", "MACs", list(macs.values())),
        share("macs_share", "MACs"),
        label("status", "Status"),
        label("how", "How", "wrap"),
    )
    rows = tuple(
        (
            *(key[0], len(groups[key]), macs[key] or None),
            *(macs[key] / network.macs if macs[key] else None, key[1], key[2]),
        )
        for key in sorted(groups, key=lambda key: (-macs[key], -len(groups[key]), key))
    )
    return Table("", columns, rows)


def _layer_table(network: Network) -> Table:
    columns = (
        label("name", "Layer", "shorten"),
        label("op", "Operator", "clip"),
        count("macs", "MACs", [layer.macs for layer in network.layers]),
        fixed("trips", "Trips", 0),
        label("work", "Loops or work", "shorten"),
    )
    rows = tuple(
        (layer.name, layer.op, layer.macs or None, layer.trips, _work(layer))
        for layer in network.layers
    )
    return Table("", columns, rows)


def _work(layer: Layer) -> str:
    if isinstance(layer, MacLayer):
        return " ".join(f"{dim}{n}" for dim, n in layer.nest.bounds.items() if n > 1) or "(all 1)"
    if isinstance(layer, VectorLayer):
        special = f", {layer.special_ops} special" if layer.special_ops else ""
        return f"{layer.alu_ops} ops{special}"
    if isinstance(layer, MoveLayer):
        return "view" if layer.is_view else f"moves {layer.elements}"
    return "unknown"
