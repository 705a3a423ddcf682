from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npubench.accuracy.evaluator import Evaluator
from npubench.specs.catalog import data_folder
from tests.accuracy.models import evaluator


@pytest.fixture(scope="session")
def digits() -> Evaluator:
    return evaluator(data_folder("workloads") / "digits_cnn.onnx", "digits")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> dict[str, Path]:
    """How each labelled set is fed to each network, by ``<set>:<network>`` or ``<set>``."""
    folder = tmp_path_factory.mktemp("recipes")
    made: dict[str, Path] = {}
    imagenet = (
        "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
    )
    for name in ("cifar10-test-297", "cifar10-test-jpeg-3000"):
        data = f"data: {shared / 'datasets' / name}.npz\nclasses: 10\n"
        for kind, text in (("normalised", imagenet), ("centred", "offset: 128\n")):
            made[f"{name}:{kind}"] = folder / f"{name}-{kind}.yaml"
            made[f"{name}:{kind}"].write_text(data + text)
    unit = folder / "mnist-unit.yaml"
    unit.write_text(f"data: {shared / 'datasets' / 'mnist-test'}.npz\nscale: 0.00392156862745098\n")
    made["mnist-test:unit"] = unit
    return made
