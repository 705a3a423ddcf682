from __future__ import annotations

import subprocess
import sys

import pytest

from npubench.errors import SpecError
from npubench.machines.registry import FAMILIES, build_machine
from npubench.specs.loader import SpecDocument


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: a\nfamily: aray\n",
            "a.yaml:2:9: family: unknown family 'aray'\n  did you mean 'array'?",
        ),
        ("name: a\n", "a.yaml:1:1: missing key 'family'\n  known: "),
        ("family: [array]\n", "a.yaml:1:9: family: expected the name of a family\n  known: "),
    ],
)
def test_a_family_that_is_none(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        build_machine(SpecDocument.from_text(text, "a.yaml"))
    known = ", ".join(sorted(FAMILIES))
    assert str(caught.value) == (f"{message}{known}" if message.endswith("known: ") else message)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_imported(family: str) -> None:
    assert callable(FAMILIES[family]())


def test_a_family_is_imported_only_when_a_spec_asks_for_it() -> None:
    code = (
        "import sys, npubench.machines.registry\n"
        "print([m for m in sys.modules if m.startswith('npubench.machines.')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "registry" in done.stdout
    for family in FAMILIES:
        assert f"npubench.machines.{family}" not in done.stdout
