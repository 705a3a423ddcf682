"""A schema with one of everything, for the tests of the specs layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from npubench.errors import NpubenchError
from npubench.specs.header import SpecHeader
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import (
    Capacity,
    Count,
    Energy,
    EnergyPerBit,
    Fraction,
    Frequency,
    Ratio,
    SpecModel,
)

Refuse = Callable[[type[NpubenchError], Callable[[], object]], str]


class Memory(SpecModel):
    name: str
    capacity: Capacity
    read: EnergyPerBit | None = None
    ports: int = 1


class Toy(SpecHeader):
    clock: Frequency
    rows: Count
    mac: Energy
    memories: tuple[Memory, ...] = ()
    parts: dict[str, Memory] = {}  # noqa: RUF012 (pydantic copies defaults)
    dataflow: Literal["weight", "output"] = "weight"
    fused: bool = False
    idle: Fraction | None = None
    scale: Ratio | None = None
    slack: float | Literal["auto"] = 0.5
    label: str = ""


TEXT = """\
# a toy
name: toy
aliases: [toy_one]
family: toys
title: A toy
citation: Nobody, Nowhere 2024
node: 16 nm
clock: {value: 1 GHz, range: 0.7..1.2 GHz, source: "Paper, Table 2", confidence: published}
rows: {value: 128, source: "Paper, Section 3"}
mac: 0.10 pJ
memories:
  - name: sram
    capacity: 512 KiB
  - name: dram
    capacity: 1 GiB
    read: {value: 4 pJ/bit, confidence: assumed}
"""


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT


@pytest.fixture
def document() -> SpecDocument:
    return SpecDocument.from_text(TEXT, "toy.yaml")


@pytest.fixture
def refuse() -> Refuse:
    """The whole text of the error that an action must end in."""

    def whole_text(error: type[NpubenchError], action: Callable[[], object]) -> str:
        with pytest.raises(NpubenchError) as caught:
            action()
        assert type(caught.value) is error
        return str(caught.value)

    return whole_text
