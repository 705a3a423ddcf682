"""Image files; they need Pillow, the optional extra ``images``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.errors import InputError, Problem, did_you_mean

__all__ = ["CLASS_SUFFIXES", "class_folders", "read_image"]

CLASS_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm")


def class_folders(
    path: Path, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Class names, image files and their class numbers of a folder with a folder for each class.

    Args:
        path: the folder.
        classes: names in the order of their numbers; empty takes the folders by name.

    Raises:
        InputError: folders without a class of that name.
    """
    folders = sorted(p for p in path.iterdir() if p.is_dir())
    names = classes or tuple(p.name for p in folders)
    problems = [
        Problem("is not the name of a class", str(p), hint=did_you_mean(p.name, names))
        for p in folders
        if p.name not in names
    ]
    if problems:
        raise InputError(*problems)
    files: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in CLASS_SUFFIXES)
        files += found
        labels += [names.index(folder.name)] * len(found)
    return names, files, labels


def read_image(path: Path, resize: int, crop: int) -> npt.NDArray[Any]:
    """An image as uint8 [rows, columns, 3], or [rows, columns] if it is grey.

    The shorter side is resized (bilinear) to ``resize`` and the middle ``crop`` pixels are kept,
    as torchvision's reference preprocessing does; 0 leaves that step out.

    Raises:
        InputError: no Pillow, not an image, or one smaller than the crop.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(
            Problem("image files need Pillow", hint="pip install 'npubench[images]'")
        ) from None
    try:
        with Image.open(path) as opened:
            grey = opened.mode in ("1", "L", "I", "I;16")
            image = opened.convert("L" if grey else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(Problem(f"not an image that can be read: {error}", str(path))) from error
    width, height = image.size
    if resize:
        if width <= height:
            width, height = resize, int(resize * height / width)
        else:
            width, height = int(resize * width / height), resize
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if crop:
        if crop > min(width, height):
            raise InputError(
                Problem(f"{width}x{height} is smaller than the crop {crop}", str(path))
            )
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        image = image.crop((left, top, left + crop, top + crop))
    return np.asarray(image, np.uint8)
