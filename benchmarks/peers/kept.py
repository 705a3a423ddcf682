"""What the peers said, layer by layer, kept in a file so that a run that was cut short goes on.

A line is one layer of one tool at one setting on one machine: its numbers, its CPU seconds and the
day. Lines of other machines, releases or settings are left alone and not used.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Kept", "key_of", "machine_name"]

Record = dict[str, Any]


def machine_name() -> str:
    """Processor and interpreter: CPU seconds of others are not comparable."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux; the general name will do
    return f"{processor}, Python {platform.python_version()}"


def key_of(tool: str, settings: Sequence[str], files: Sequence[Path]) -> str:
    """Names a result: a tool's release, its settings, and what the files say that it reads."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{tool} {' '.join(settings)} {digest.hexdigest()[:16]}"


@dataclass
class Kept:
    """A file of results, one JSON line each; every line is on disk before the next layer runs."""

    path: Path
    found: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, fresh: bool = False) -> Kept:
        """Read a file of results; with ``fresh`` use none of them, and write behind them.

        Raises:
            SystemExit: a line other than the last is not a result.
        """
        kept = cls(path)
        lines = path.read_text().splitlines() if path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                key, machine = record["key"], record["machine"]
            except (ValueError, KeyError, TypeError):
                if number < len(lines):
                    raise SystemExit(f"{path}:{number}: not a result of this script") from None
                # Cut short while it was written: that layer runs again.
                path.write_text("".join(f"{line}\n" for line in lines[:-1]))
                break
            if machine == machine_name() and not fresh:
                kept.found[key] = record
        return kept

    def add(self, key: str, record: Record) -> Record:
        """Keep a result and write it down."""
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        full = {"key": key, "machine": machine_name(), "day": day, **record}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(full) + "\n")
        self.found[key] = full
        return full
