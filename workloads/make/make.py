"""Write the models, their catalog entries and the data set.

Usage: python workloads/make/make.py [NAME ...]        (all networks without a name)
"""

from __future__ import annotations

import csv
import hashlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import digits
import yaml
from networks import NETWORKS, Network
from onnx import ModelProto
from skeleton import WEIGHT_INPUTS_KEY, weight_inputs

WORKLOADS = Path(__file__).resolve().parent.parent
CATALOG = WORKLOADS / "catalog.yaml"
REFERENCES = WORKLOADS.parent / "tests" / "workloads" / "network-sizes.csv"
TOOLS = ("torch", "torchvision", "transformers", "onnx", "onnxscript", "onnx_ir")
TOOLS += ("onnxruntime", "numpy", "scikit-learn")
HEADER = f"""\
# The shipped workloads. Written by workloads/make/make.py: change networks.py there, not this file.
# params and macs are those of the published network: file + folded_params + omitted = params, and
# file + omitted = macs. `inputs` are the data inputs; every other graph input is a weight and is
# listed in the file's own metadata ({WEIGHT_INPUTS_KEY}).
"""


def main(names: list[str]) -> None:
    """Make the named networks (all without a name) and update the catalog."""
    known = [network.name for network in NETWORKS]
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"unknown network {', '.join(unknown)}; there are {', '.join(known)}")
    catalog = yaml.safe_load(CATALOG.read_text()) if CATALOG.exists() else {}
    entries = {entry["name"]: entry for entry in catalog.get("networks", [])}
    references = _references()
    for network in NETWORKS:
        if not names or network.name in names:
            entries[network.name] = _make(network, references[network.reference])
            print(network.name, entries[network.name]["params"], entries[network.name]["macs"])
    dataset = digits.write_dataset(WORKLOADS / "datasets")
    catalog["datasets"] = [dataset | {"sha256": _sha256(WORKLOADS / dataset["file"])}]
    catalog["made_with"] = {"python": platform.python_version()}
    catalog["made_with"] |= {tool: version(tool) for tool in TOOLS}
    catalog["networks"] = [entries[name] for name in known if name in entries]
    ordered = {key: catalog[key] for key in ("made_with", "networks", "datasets")}
    text = yaml.dump(_quoted(ordered), Dumper=_Dumper, sort_keys=False, width=float("inf"))
    CATALOG.write_text(HEADER + text)


def _make(network: Network, reference: dict[str, str]) -> dict[str, Any]:
    export = network.make()
    params = export.params + sum(part.params for part in network.omitted)
    macs = export.macs + sum(part.macs for part in network.omitted)
    exact = reference["verified"] in ("read", "computed")
    if exact and (params, macs) != (int(reference["params"]), int(reference["macs"])):
        raise ValueError(f"{network.name}: {params} params, {macs} macs, but {reference}")
    path = WORKLOADS / f"{network.name}.onnx"
    content = export.model.SerializeToString(deterministic=True)
    path.write_bytes(content)
    entry = {
        "name": network.name,
        "aliases": list(network.aliases),
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "variant": network.variant,
        "source": network.source,
        "licence": network.licence,
        "inputs": _data_inputs(export.model),
        "params": params,
        "macs": macs,
        "folded_params": export.folded_params,
        "omitted": [vars(part) for part in network.omitted],
        "reference": {
            "net": reference["net"],
            "input": reference["input"],
            "source": reference["source"],
            "exact": exact,
        },
    }
    if export.accuracy:
        entry["accuracy"] = vars(export.accuracy)
    return entry


def _references() -> dict[tuple[str, str], dict[str, str]]:
    with REFERENCES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Where a network is listed twice (recalled and read), the first, exact row counts.
    return {(row["net"], row["input"]): row for row in reversed(rows)}


def _data_inputs(model: ModelProto) -> dict[str, list[int]]:
    weights = weight_inputs(model)
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in weights
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Text(str):
    """A value written in double quotes."""


class _Dumper(yaml.SafeDumper):
    """Strings in quotes, lists on one line: the catalog must not depend on YAML's guesses."""


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
_Dumper.add_representer(
    tuple,
    lambda dumper, row: dumper.represent_sequence("tag:yaml.org,2002:seq", row, flow_style=True),
)


def _quoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_quoted(item) for item in value]
        return items if any(isinstance(item, dict) for item in items) else tuple(items)
    return _Text(value) if isinstance(value, str) else value


if __name__ == "__main__":
    main(sys.argv[1:])
