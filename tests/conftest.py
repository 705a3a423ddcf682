"""Fixtures shared by every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.depth import set_deep

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deep", action="store_true", help="draw all examples of random tests, not a share"
    )


def pytest_configure(config: pytest.Config) -> None:
    set_deep(deep=bool(config.getoption("--deep")))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large models and data beside the checkout; absent on most machines."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder of large models and data beside the checkout")
    return folder
