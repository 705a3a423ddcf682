"""Recipes: how stored samples become what a network was trained on, as a YAML file.

data: ILSVRC2012_val          # beside the recipe; a folder or a file
labels: val.txt               # in that folder: a name and a class number on each line
resize: 256                   # shorter side, then the middle
crop: 224
scale: 0.00392156862745098    # (value - offset) x scale, then (.. - mean) / std by channel
mean: [0.485, 0.456, 0.406]
std: [0.229, 0.224, 0.225]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from npubench.errors import OptionError
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import SpecModel
from npubench.specs.tree import spec_error

__all__ = ["Recipe", "read_recipe"]


@dataclass(frozen=True)
class Recipe:
    """Preprocessing; the default leaves samples as they are.

    Attributes:
        images, labels: arrays of an ``.npz`` file; ``labels`` of a folder is its list of labels.
        resize: length of the shorter side in pixels, 0 to keep the size.
        crop: side of the square cut from the middle, 0 for none.
        offset, scale: (value - offset) x scale.
        mean, std: per channel, after the scale; empty for none.
        classes: names, in the order of the labels.
        channels_first: whether stored images have their channels before rows and columns.
    """

    images: str = ""
    labels: str = ""
    resize: int = 0
    crop: int = 0
    offset: float = 0.0
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    class_count: int | None = None
    channels_first: bool = False

    def apply(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Samples [n, ...] preprocessed.

        Raises:
            OptionError: mean or std for another number of channels.
        """
        if (self.offset, self.scale, self.mean, self.std) == (0.0, 1.0, (), ()):
            return samples
        values = (samples.astype(np.float32) - np.float32(self.offset)) * np.float32(self.scale)
        axis = 1 if self.channels_first else -1
        if self.mean or self.std:
            channels = samples.shape[axis] if samples.ndim > 3 else 1
            for what, given in (("mean", self.mean), ("std", self.std)):
                if given and len(given) not in (1, channels):
                    raise OptionError(
                        f"recipe: {len(given)} values of {what} for {channels} channels"
                    )
            shape = (-1, 1, 1) if self.channels_first else (-1,)
            mean = np.array(self.mean or (0,), np.float32).reshape(shape)
            std = np.array(self.std or (1,), np.float32).reshape(shape)
            values = (values - mean) / std
        return values


class _RecipeFile(SpecModel):
    """The file; see `Recipe`."""

    data: str
    images: str = ""
    labels: str = ""
    resize: Annotated[int, Field(ge=1, le=4096)] | None = None
    crop: Annotated[int, Field(ge=1, le=4096)] | None = None
    offset: float | int = 0
    scale: Annotated[float | int, Field(gt=0)] = 1
    mean: tuple[float | int, ...] = ()
    std: tuple[Annotated[float | int, Field(gt=0)], ...] = ()
    classes: tuple[str, ...] | Annotated[int, Field(ge=2)] = ()
    layout: str = Field(default="NHWC", pattern="^(NHWC|NCHW)$")


def read_recipe(path: Path) -> tuple[Recipe, Path]:
    """A recipe and the data it is for.

    Raises:
        SpecError: mistakes in the file.
    """
    document = SpecDocument.from_file(path)
    file = document.validate(_RecipeFile)
    if file.crop and file.resize and file.crop > file.resize:
        place = document.root.place
        raise spec_error(
            [place.problem(f"crop {file.crop} is larger than the image resized to {file.resize}")]
        )
    named = file.classes if isinstance(file.classes, tuple) else ()
    count = file.classes if isinstance(file.classes, int) else len(named) or None
    recipe = Recipe(
        images=file.images,
        labels=file.labels,
        resize=file.resize or 0,
        crop=file.crop or 0,
        offset=float(file.offset),
        scale=float(file.scale),
        mean=tuple(map(float, file.mean)),
        std=tuple(map(float, file.std)),
        classes=named,
        class_count=count,
        channels_first=file.layout == "NCHW",
    )
    return recipe, path.parent / file.data
