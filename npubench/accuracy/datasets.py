"""Labelled data: a shipped set, an ``.npz`` file, idx, CIFAR batches, folders of images, tokens.

A data set gives samples as arrays; `fit` shapes them for a model or says why they do not fit.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.accuracy.images import CLASS_SUFFIXES, class_folders, read_image
from npubench.accuracy.recipe import Recipe, read_recipe
from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.specs.catalog import DatasetEntry, find_dataset
from npubench.specs.loader import YAML_SUFFIXES

__all__ = ["Dataset", "Indices", "fit", "open_dataset"]

Indices = npt.NDArray[np.int64]
Samples = npt.NDArray[Any]

_IMAGE_KEYS = ("images", "features", "data", "x")
_LABEL_KEYS = ("labels", "targets", "y")
_TOKENS = "tokens"
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_PIXELS = math.prod(_CIFAR_SHAPE)


@dataclass(frozen=True)
class Dataset:
    """Samples and labels.

    Attributes:
        name: for tables.
        labels: class of each sample; None for a stream of tokens.
        classes: number of classes, where the data says so.
        shape: of one sample, () for tokens.
        read: the samples of some indices, preprocessed.
        calibration: unlabelled samples set apart for calibration, preprocessed.
        stored: reads samples as they are stored, for models that take integers; the same as
            ``read`` where nothing is done to them.
        tokens: a stream of token numbers for a language model.
    """

    name: str
    labels: npt.NDArray[np.int64] | None
    classes: int | None
    shape: tuple[int, ...]
    read: Callable[[Indices], Samples]
    calibration: Samples | None = None
    stored: Callable[[Indices], Samples] | None = None
    tokens: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of samples, or of tokens."""
        if self.labels is not None:
            return len(self.labels)
        return 0 if self.tokens is None else len(self.tokens)


def open_dataset(text: str) -> Dataset:
    """The data set of a name, a file or a folder; a ``.yaml`` file is a recipe.

    Raises:
        InputError: nothing there, not understood, or labels that do not go with the samples.
    """
    if not ("/" in text or "\\" in text or Path(text).suffix or Path(text).exists()):
        entry = find_dataset(text)
        return _shipped(entry)
    path = Path(text)
    if text.lower().endswith(YAML_SUFFIXES):
        recipe, data = read_recipe(path)
        return replace(_open(data, recipe), name=path.stem)
    return _open(path, Recipe())


def _shipped(entry: DatasetEntry) -> Dataset:
    return replace(_open(entry.path, Recipe()), name=entry.name, classes=entry.classes)


def _open(path: Path, recipe: Recipe) -> Dataset:
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(
            Problem("no such data set", str(path), hint=did_you_mean(path.name, beside))
        )
    suffixes = "".join(path.suffixes[-2:]).lower()
    try:
        if path.is_dir():
            return _folder(path, recipe)
        if suffixes.endswith(".npz"):
            return _npz(path, recipe)
        if "idx" in path.name:
            return _idx(path, recipe)
        if suffixes.endswith(".bin"):
            return _cifar([path], recipe)
        if suffixes.endswith((".npy", ".txt")):
            return _token_file(path)
    except (OSError, ValueError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(Problem(f"cannot be read as a data set: {first}", str(path))) from error
    raise InputError(
        Problem(
            "not a data set of a known kind",
            str(path),
            hint=".npz, idx, CIFAR .bin, a folder of images, .npy or .txt of tokens, or a recipe",
        )
    )


def _in_memory(
    path: Path, images: Samples, labels: npt.NDArray[Any] | None, recipe: Recipe, **more: Any
) -> Dataset:
    """A data set of arrays; checks that labels and images go together."""
    if labels is None:
        raise InputError(
            Problem("has no labels", str(path), hint=f"an array called {' or '.join(_LABEL_KEYS)}")
        )
    labels = np.asarray(labels).reshape(-1)
    if labels.dtype.kind not in "iu":
        raise InputError(Problem(f"labels are {labels.dtype}, not whole numbers", str(path)))
    if len(labels) != len(images):
        raise InputError(
            Problem(f"{len(images)} samples and {len(labels)} labels do not go together", str(path))
        )
    if not len(images):
        raise InputError(Problem("holds no samples", str(path)))
    probe = recipe.apply(images[:1])
    return Dataset(
        name=path.stem,
        labels=labels.astype(np.int64),
        classes=recipe.class_count,
        shape=probe.shape[1:],
        read=lambda indices: recipe.apply(images[indices]),
        stored=lambda indices: images[indices],
        **more,
    )


def _npz(path: Path, recipe: Recipe) -> Dataset:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if _TOKENS in arrays:
        return _stream(path, arrays[_TOKENS])
    images = _pick(path, arrays, recipe.images, _IMAGE_KEYS, "samples")
    labels = _pick(path, arrays, recipe.labels, _LABEL_KEYS, "labels")
    calibration = arrays.get("calibration")
    if images is None:
        found = ", ".join(arrays) or "none"
        raise InputError(
            Problem(
                f"has no samples; its arrays: {found}", str(path), hint=" or ".join(_IMAGE_KEYS)
            )
        )
    if "scale" in arrays and "zero_point" in arrays and recipe == Recipe():
        # Stored as integers that stand for real numbers; integer models take them as they are.
        recipe = replace(recipe, scale=float(arrays["scale"]), offset=float(arrays["zero_point"]))
    prepared = None if calibration is None else recipe.apply(calibration)
    return _in_memory(path, images, labels, recipe, calibration=prepared)


def _pick(
    path: Path, arrays: dict[str, Samples], asked: str, usual: tuple[str, ...], what: str
) -> Samples | None:
    if asked and asked not in arrays:
        hint = did_you_mean(asked, arrays)
        raise InputError(Problem(f"has no array '{asked}' of {what}", str(path), hint=hint))
    names = (asked,) if asked else usual
    return next((arrays[name] for name in names if name in arrays), None)


def _read_idx(path: Path) -> Samples:
    """LeCun's idx format: two zero bytes, element type, rank, big-endian extents, elements."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    kinds = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in kinds:
        raise ValueError("not an idx file")
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4).astype(int)
    return np.frombuffer(raw, kinds[raw[2]], math.prod(shape), 4 + 4 * rank).reshape(shape)


def _idx(path: Path, recipe: Recipe) -> Dataset:
    """Images, and the labels beside them under the usual name: idx3 and idx1."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside == path or not beside.is_file():
        hint = f"expected them in {beside.name}" if beside != path else None
        raise InputError(Problem("has no file of labels beside it", str(path), hint=hint))
    return _in_memory(path, _read_idx(path), _read_idx(beside), recipe)


def _cifar(paths: list[Path], recipe: Recipe) -> Dataset:
    """CIFAR-10 or -100 binary: one or two label bytes (the last counts), then 3 x 32 x 32."""
    records = []
    for path in paths:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
        sizes = [n for n in (1, 2) if len(raw) and len(raw) % (_CIFAR_PIXELS + n) == 0]
        if not sizes:
            raise ValueError(f"{len(raw)} bytes are no whole number of CIFAR records")
        records.append((sizes[0], raw.reshape(-1, _CIFAR_PIXELS + sizes[0])))
    labels = np.concatenate([record[:, head - 1] for head, record in records])
    images = np.concatenate(
        [record[:, head:].reshape(-1, *_CIFAR_SHAPE) for head, record in records]
    )
    found = _in_memory(paths[0], np.moveaxis(images, 1, -1), labels, recipe)
    return replace(found, classes=found.classes or (10 if records[0][0] == 1 else 100))


def _folder(path: Path, recipe: Recipe) -> Dataset:
    """A folder for each class, or files with a list of labels; else CIFAR's batches."""
    batches = sorted(path.glob("*.bin"))
    if batches:
        tests = [p for p in batches if p.stem.startswith("test")]
        return _cifar(tests or batches, recipe)
    if recipe.labels:
        files, labels, classes = _listed(path, recipe)
    else:
        names, files, labels = class_folders(path, recipe.classes)
        classes = len(names)
    if not files:
        raise InputError(
            Problem("holds no images", str(path), hint=f"looked for {', '.join(CLASS_SUFFIXES)}")
        )
    numbers = np.array(labels, np.int64)

    def stored(indices: Indices) -> Samples:
        return np.stack([read_image(files[i], recipe.resize, recipe.crop) for i in indices])

    try:
        shape = recipe.apply(stored(np.array([0]))).shape[1:]
    except OptionError as error:
        raise InputError(*(replace(p, file=str(path)) for p in error.problems)) from error
    return Dataset(
        name=path.name,
        labels=numbers,
        classes=classes,
        shape=shape,
        read=lambda indices: recipe.apply(stored(indices)),
        stored=stored,
    )


def _listed(path: Path, recipe: Recipe) -> tuple[list[Path], list[int], int | None]:
    """ImageNet's validation layout: all images in one folder, a text file of names and classes."""
    listing = path / recipe.labels
    if not listing.is_file():
        raise InputError(Problem("no such list of labels", str(listing)))
    files: list[Path] = []
    labels: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isdecimal():
            problems.append(
                Problem("expected a file's name and the number of its class", str(listing), number)
            )
        elif not (path / words[0]).is_file():
            problems.append(Problem(f"no such image '{words[0]}'", str(listing), number))
        else:
            files.append(path / words[0])
            labels.append(int(words[1]))
    if problems:
        raise InputError(*problems[:20])
    return files, labels, recipe.class_count


def _token_file(path: Path) -> Dataset:
    if path.suffix.lower() == ".npy":
        return _stream(path, np.load(path, allow_pickle=False))
    words = path.read_text(encoding="utf-8").split()
    return _stream(path, np.array([int(word) for word in words], np.int64))


def _stream(path: Path, tokens: Samples) -> Dataset:
    if tokens.dtype.kind not in "iu" or tokens.size < 2:
        raise ValueError("a stream of tokens is at least two whole numbers")
    stream = tokens.reshape(-1).astype(np.int64)
    if stream.min() < 0:
        raise ValueError(f"token {stream.min()} is negative")
    return Dataset(path.stem, None, None, (), lambda indices: stream[indices], tokens=stream)


def fit(dataset: Dataset, shape: tuple[int, ...], kind: np.dtype[Any]) -> Dataset:
    """The data set with samples in a model's shape and element type.

    A lacking channel axis is added, and channels move between first and last place. Models that
    take integers get samples as stored, unless preprocessing made whole numbers of the type.

    Raises:
        InputError: another shape, or values that the model's integers do not hold.
    """
    arrange = _arrangement(dataset.shape, shape)
    if arrange is None:
        given, wanted = ("x".join(map(str, s)) or "one number" for s in (dataset.shape, shape))
        raise InputError(
            Problem(
                f"data set '{dataset.name}' has samples of {given}, the network takes {wanted}",
                hint="a recipe may resize and crop images",
            )
        )

    def shaped(samples: Samples) -> Samples:
        return np.ascontiguousarray(_typed(arrange(samples), kind, dataset.name))

    def read(indices: Indices) -> Samples:
        samples = dataset.read(indices)
        if kind.kind in "iu" and samples.dtype != kind and dataset.stored is not None:
            plain = dataset.stored(indices)
            if plain.dtype == kind and plain.shape[1:] == dataset.shape:
                samples = plain
        return shaped(samples)

    held = dataset.calibration
    return replace(
        dataset, shape=shape, read=read, calibration=None if held is None else shaped(held)
    )


def _arrangement(
    given: tuple[int, ...], wanted: tuple[int, ...]
) -> Callable[[Samples], Samples] | None:
    if given == wanted:
        return lambda samples: samples
    if len(given) == 2 and wanted in ((1, *given), (*given, 1)):
        return lambda samples: samples.reshape(len(samples), *wanted)
    if len(given) == 3 and wanted == (given[2], given[0], given[1]):
        return lambda samples: np.moveaxis(samples, -1, 1)
    if len(given) == 3 and wanted == (given[1], given[2], given[0]):
        return lambda samples: np.moveaxis(samples, 1, -1)
    return None


def _typed(samples: Samples, kind: np.dtype[Any], name: str) -> Samples:
    if samples.dtype == kind or kind.kind not in "iu":
        return samples.astype(kind)
    limits = np.iinfo(kind)
    whole = np.all(samples == np.rint(samples))
    if not whole or samples.min() < limits.min or samples.max() > limits.max:
        raise InputError(
            Problem(
                f"data set '{name}' has values from {samples.min():g} to {samples.max():g}, the "
                f"network takes {kind}",
                hint="a recipe with offset and scale makes whole numbers of them",
            )
        )
    return samples.astype(kind)
