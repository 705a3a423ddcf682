"""ZigZag's kept results as the table that the tests compare with.

    python benchmarks/peers/run_peers.py --only zigzag --fresh
    python benchmarks/peers/oracle_table.py tests/oracles/zigzag/search_layers.csv

Takes what `run_peers.py` kept of the layers as they are now; a network of which a layer is missing
has the rows that are there.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from kept import Kept
from run_peers import HERE, NETWORKS, ZIGZAG_HARDWARE, ZIGZAG_MAPPING, Peer, chosen, release, shown

COLUMNS = (
    "network",
    "layer",
    "lpf_limit",
    "energy_pj",
    "latency_cycles",
    "least_cycles",
    "mappings",
    "loops_inner_to_outer",
    "zigzag",
    "day",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path, help="the CSV file to write")
    parser.add_argument("--kept", type=Path, default=HERE / ".kept.jsonl", help="of run_peers.py")
    parser.add_argument("--limit", type=int, default=6, help="ZigZag's lpf_limit")
    options = parser.parse_args()
    kept = Kept.open(options.kept)
    peer = Peer("zigzag", ("energy", str(options.limit)), (ZIGZAG_HARDWARE, ZIGZAG_MAPPING), "")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS["zigzag"]:
            nests = chosen(network, peer, None)
            found = [kept.found.get(peer.key(nest, Path(folder))) for nest in nests]
            for nest, record in zip(nests, found, strict=True):
                if record is not None:
                    figures = [record[name] for name in ("energy_pj", "cycles", "least_cycles")]
                    said = [record["candidates"], record["order"], release("zigzag")]
                    row = [network, shown(nest), options.limit, *figures, *said, record["day"]]
                    rows.append(row)
            print(f"{network}: {sum(record is not None for record in found)} of {len(nests)}")
    with options.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
