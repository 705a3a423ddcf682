"""The schema of family ``associative``: CAPs, their cells, the staging memories and the mesh."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from npubench.machines.common.voltage import VoltageSpec
from npubench.specs.header import SpecHeader
from npubench.specs.quantity import (
    REFUSAL,
    Area,
    Count,
    CycleBandwidth,
    Cycles,
    Energy,
    EnergyPerBit,
    Frequency,
    Power,
    Ratio,
    SpecModel,
    WireEnergy,
)

__all__ = ["AssociativeSpec", "CellSpec", "CellWriteSpec", "MeshSpec", "OrganisationSpec"]


def _refuse(message: str, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError(REFUSAL, "{message}", {"message": message, "hint": hint})


class CellWriteSpec(SpecModel):
    """Writing a cell.

    Attributes:
        energy: joules a cell that changes; cells that keep their value take none.
        cycles: of the clock, for one write of any number of columns.
        scaled: whether the energy follows the supply; switching a resistive cell does not.
        endurance: writes that a cell survives; left out where there is no limit worth stating.
    """

    energy: Energy
    cycles: Cycles
    scaled: bool = True
    endurance: Ratio | None = None


class CellSpec(SpecModel):
    """One bit cell of a CAP in a technology.

    Attributes:
        technology: name, for results.
        compare_energy: joules a cell compared, its share of lines and sense amplifiers as far as
            the source has them.
        pass_energy: joules a row and LUT pass, for ``energy_model: per_pass``; left out where
            there is no figure for the technology.
        compare_cycles: of the clock, for one compare.
        write: writing.
        area: of the bare cell.
        periphery_area: what drivers, sense amplifiers, staging memories and mesh take, a cell.
    """

    technology: str
    compare_energy: Energy
    pass_energy: Energy | None = None
    compare_cycles: Cycles
    write: CellWriteSpec
    area: Area
    periphery_area: Area


class OrganisationSpec(SpecModel):
    """How many arrays there are and how a layer may use them.

    Attributes:
        clusters: on the mesh, a square of them; each has one staging memory (MAP).
        caps_per_cluster: compute arrays (CAPs) of a cluster.
        rows, columns: of a CAP.
        resources: ``limited`` to these CAPs, a layer that needs more rows runs in folds; or
            ``unlimited``, as many rows as a layer has products (an ideal, not a chip).
        word: ``gang``: a word wider than a CAP lies across several CAPs, which then work as one;
            ``paper``: every row counts, whatever its width and wherever its scalar product ends,
            as published peak figures imply.
    """

    clusters: Count
    caps_per_cluster: Count
    rows: Count
    columns: Count
    resources: Literal["limited", "unlimited"] = "limited"
    word: Literal["gang", "paper"] = "gang"

    @model_validator(mode="after")
    def _square(self) -> OrganisationSpec:
        side = round(self.clusters.value**0.5)
        if side * side != self.clusters.integer:
            raise _refuse("clusters: expected a square number, the mesh has equal sides")
        return self

    @property
    def caps(self) -> int:
        """All compute arrays."""
        return self.clusters.integer * self.caps_per_cluster.integer


class MeshSpec(SpecModel):
    """The network between clusters, a square mesh with links both ways.

    Attributes:
        width: bits a cycle and link.
        energy: joules a bit and millimetre.
        hop: millimetres between neighbours, as a plain number.
    """

    width: CycleBandwidth
    energy: WireEnergy
    hop: Ratio


class AssociativeSpec(SpecHeader):
    """A spec of family ``associative``.

    Attributes:
        clock: of compares, writes, reads and the mesh.
        organisation: arrays.
        cell: technology of the CAPs.
        staging: joules a bit read from or written to a staging memory.
        mesh: network between clusters.
        static_power: drawn all the time.
        energy_model: ``per_event``: cells compared and cells changed, each with its energy;
            ``per_pass``: an energy for each row and LUT pass.
        reduction: of scalar products: ``carry_save`` (two dimensional, segmented, executed),
            ``tree`` with row moves (all a one-dimensional array can do, executed) or
            ``literature``, a recalled formula that no program executes.
        relu: ``one_shot`` writes all columns at once, ``serial`` one after the other.
        max_passes: LUT passes a bit of a maximum, 3 or 4.
        activations: sign of streamed operands; after a ReLU they are ``unsigned``. Weights are
            signed, and both operands of a product of two activations.
        multiplier_bits: of requantization.
        loading: ``exposed``: operands are written before a fold begins; ``pipelined``: beside the
            fold before, as long as that lasts.
        default_bits: width of weights and activations when nothing is asked for.
        area: of the die, where published; otherwise the sum over the cells.
        voltage: laws of the supply; constants hold at the nominal one.
    """

    clock: Frequency
    organisation: OrganisationSpec
    cell: CellSpec
    staging: EnergyPerBit
    mesh: MeshSpec
    static_power: Power
    energy_model: Literal["per_event", "per_pass"] = "per_event"
    reduction: Literal["carry_save", "tree", "literature"] = "carry_save"
    relu: Literal["one_shot", "serial"] = "one_shot"
    max_passes: Literal[3, 4] = 4
    activations: Literal["unsigned", "signed"] = "unsigned"
    multiplier_bits: Count
    loading: Literal["exposed", "pipelined"] = "exposed"
    default_bits: Count
    area: Area | None = None
    voltage: VoltageSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AssociativeSpec:
        if self.energy_model == "per_pass" and self.cell.pass_energy is None:
            raise _refuse(
                f"energy_model 'per_pass' needs 'cell.pass_energy', which "
                f"{self.cell.technology} does not have",
                "per_event works for every technology",
            )
        for name in ("default_bits", "multiplier_bits"):
            if getattr(self, name).integer > 16:
                raise _refuse(f"{name}: at most 16 bits")
        return self
