"""Data sets of every kind, and what is said of those that are wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from npubench.accuracy.datasets import Dataset, fit, open_dataset
from npubench.errors import InputError

FLOAT = np.dtype(np.float32)


def _refusal(tmp_path: Path, name: str) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(str(tmp_path / name))
    return str(caught.value).replace(f"{tmp_path}/", "")


def _all(found: Dataset) -> np.ndarray:
    return found.read(np.arange(len(found)))


def test_the_shipped_set() -> None:
    found = open_dataset("digits")
    assert (found.name, len(found), found.classes, found.shape) == ("digits", 450, 10, (1, 8, 8))
    assert found.calibration is not None
    assert found.calibration.shape == (128, 1, 8, 8)


def test_npz_with_usual_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((3, 4, 4), np.uint8), y=[0, 1, 2])
    found = open_dataset(str(tmp_path / "a.npz"))
    assert (found.shape, len(found), found.name) == ((4, 4), 3, "a")


def test_stored_integers_are_scaled_for_floats_and_kept_for_integers(tmp_path: Path) -> None:
    stored = np.arange(8, dtype=np.int8).reshape(2, 4)
    np.savez(tmp_path / "q.npz", features=stored, labels=[0, 1], scale=0.5, zero_point=2)
    found = open_dataset(str(tmp_path / "q.npz"))
    assert _all(fit(found, (4,), FLOAT)).tolist() == ((stored - 2.0) * 0.5).tolist()
    whole = _all(fit(found, (4,), np.dtype(np.int8)))
    assert (whole.dtype, whole.tolist()) == (np.int8, stored.tolist())


def _write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    raw = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path: Path, suffix: str, random: np.random.Generator) -> None:
    images = random.integers(0, 256, (5, 4, 3))
    _write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", images)
    _write_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", np.arange(5))
    found = open_dataset(str(tmp_path / f"t10k-images-idx3-ubyte{suffix}"))
    assert np.array_equal(_all(found), images)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("heads", [1, 2])
def test_cifar_binary(tmp_path: Path, heads: int, random: np.random.Generator) -> None:
    images = random.integers(0, 256, (3, 3, 32, 32)).astype(np.uint8)
    labels = np.array([7, 0, 9], np.uint8)
    head = np.stack([labels + 1] * (heads - 1) + [labels], 1).astype(np.uint8)
    records = np.concatenate([head, images.reshape(3, -1)], 1)
    records.tofile(tmp_path / "test_batch.bin")
    (tmp_path / "data_batch_1.bin").write_bytes(b"")
    found = open_dataset(str(tmp_path))
    assert np.array_equal(_all(fit(found, (3, 32, 32), FLOAT)), images)
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes) == ([7, 0, 9], 10 if heads == 1 else 100)


def test_recipe(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pixels=np.full((2, 4, 4, 3), 255, np.uint8), truth=[0, 1])
    (tmp_path / "r.yaml").write_text(
        "data: a.npz\nimages: pixels\nlabels: truth\nscale: 0.00392156862745098\n"
        "mean: [0.5, 0.25, 0]\nstd: [0.5, 0.5, 1]\nclasses: [cat, dog]\n"
    )
    found = fit(open_dataset(str(tmp_path / "r.yaml")), (3, 4, 4), FLOAT)
    assert _all(found)[0, :, 0, 0].tolist() == pytest.approx([1, 1.5, 1])
    assert (found.classes, found.name) == (2, "r")


def test_a_recipe_for_integers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([[0, 128, 255]], np.uint8), labels=[0])
    (tmp_path / "r.yaml").write_text("data: a.npz\noffset: 128\n")
    found = fit(open_dataset(str(tmp_path / "r.yaml")), (3,), np.dtype(np.int8))
    assert _all(found).tolist() == [[-128, 0, 127]]


def test_mistakes_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: a.npz\nscala: 2\nstd: [0]\nresize: 8\ncrop: ten\n")
    assert _refusal(tmp_path, "r.yaml") == (
        "r.yaml:2:1: unknown key 'scala'\n"
        "  did you mean 'scale'?   allowed: classes, crop, data, images, labels, layout, mean, "
        "offset, resize, scale, std\n"
        "r.yaml:3:7: std.0: must be above 0, got '0'\n"
        "r.yaml:5:7: crop: expected a whole number, got 'ten'"
    )


def test_a_crop_larger_than_the_image(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: a\nresize: 8\ncrop: 9\n")
    assert _refusal(tmp_path, "r.yaml") == (
        "r.yaml:1:1: crop 9 is larger than the image resized to 8"
    )


def test_what_is_wrong_with_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((2, 3)))
    np.savez(tmp_path / "odd.npz", images=np.zeros((2, 3)), labels=[0, 1, 2])
    np.savez(tmp_path / "real.npz", images=np.zeros((2, 3)), labels=[0.5, 1])
    np.savez(tmp_path / "none.npz", pictures=np.zeros((2, 3)))
    np.savez(tmp_path / "empty.npz", images=np.zeros((0, 3)), labels=np.zeros(0, int))
    (tmp_path / "junk.npz").write_text("junk")
    (tmp_path / "a.bin").write_bytes(b"123")
    (tmp_path / "a.doc").write_bytes(b"123")
    _write_idx(tmp_path / "x-images-idx3-ubyte", np.zeros((1, 2, 2)))
    assert _refusal(tmp_path, "bare.npz") == (
        "bare.npz: has no labels\n  an array called labels or targets or y"
    )
    assert _refusal(tmp_path, "odd.npz") == ("odd.npz: 2 samples and 3 labels do not go together")
    assert _refusal(tmp_path, "real.npz") == "real.npz: labels are float64, not whole numbers"
    assert _refusal(tmp_path, "none.npz") == (
        "none.npz: has no samples; its arrays: pictures\n  images or features or data or x"
    )
    assert _refusal(tmp_path, "empty.npz") == "empty.npz: holds no samples"
    assert _refusal(tmp_path, "junk.npz").startswith("junk.npz: cannot be read as a data set: ")
    assert _refusal(tmp_path, "a.bin") == (
        "a.bin: cannot be read as a data set: 3 bytes are no whole number of CIFAR records"
    )
    assert _refusal(tmp_path, "a.doc") == (
        "a.doc: not a data set of a known kind\n  .npz, idx, CIFAR .bin, a folder of images, .npy "
        "or .txt of tokens, or a recipe"
    )
    assert _refusal(tmp_path, "x-images-idx3-ubyte") == (
        "x-images-idx3-ubyte: has no file of labels beside it\n  expected them in "
        "x-labels-idx1-ubyte"
    )
    assert _refusal(tmp_path, "od.npz") == "od.npz: no such data set\n  did you mean 'odd.npz'?"


def test_an_unknown_name() -> None:
    with pytest.raises(InputError) as caught:
        open_dataset("digit")
    assert str(caught.value) == "unknown data set 'digit'\n  did you mean 'digits'?"


def test_another_shape() -> None:
    with pytest.raises(InputError) as caught:
        fit(open_dataset("digits"), (3, 32, 32), FLOAT)
    assert str(caught.value) == (
        "data set 'digits' has samples of 1x8x8, the network takes 3x32x32\n"
        "  a recipe may resize and crop images"
    )


def test_values_an_integer_input_does_not_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([[0, 200]], np.uint8), labels=[0])
    found = fit(open_dataset(str(tmp_path / "a.npz")), (2,), np.dtype(np.int8))
    with pytest.raises(InputError) as caught:
        _all(found)
    assert str(caught.value) == (
        "data set 'a' has values from 0 to 200, the network takes int8\n"
        "  a recipe with offset and scale makes whole numbers of them"
    )


def test_tokens(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("5 4 3\n2 1")
    np.save(tmp_path / "t.npy", np.array([5, 4, 3, 2, 1]))
    for name in ("t.txt", "t.npy"):
        found = open_dataset(str(tmp_path / name))
        assert found.tokens is not None
        assert found.tokens.tolist() == [5, 4, 3, 2, 1]
    (tmp_path / "bad.txt").write_text("5 -4")
    assert _refusal(tmp_path, "bad.txt") == (
        "bad.txt: cannot be read as a data set: token -4 is negative"
    )


def test_folders_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.full((10, 14, 3), 100 * index + number, np.uint8)
            image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    found = open_dataset(str(tmp_path / "set"))
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes) == ([0, 0, 1, 1], 2)
    assert found.shape == (10, 14, 3)
    (tmp_path / "r.yaml").write_text("data: set\nclasses: [dog, cat]\nresize: 8\ncrop: 6\n")
    other = open_dataset(str(tmp_path / "r.yaml"))
    assert other.labels is not None
    assert (other.labels.tolist(), other.shape) == ([1, 1, 0, 0], (6, 6, 3))
    assert _all(other)[:, 0, 0, 0].tolist() == [0, 1, 100, 101]
    (tmp_path / "r.yaml").write_text("data: set\nclasses: [dog, cow]\n")
    assert _refusal(tmp_path, "r.yaml") == (
        "set/cat: is not the name of a class\n  known: cow, dog"
    )


def test_imagenet_layout(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "val"
    folder.mkdir()
    for number in range(2):
        image.new("RGB", (20, 16), (number, 0, 0)).save(folder / f"v{number}.png")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: val\nlabels: val.txt\nresize: 8\ncrop: 8\nclasses: 1000\n")
    (folder / "val.txt").write_text("v1.png 65\nv0.png 970\n")
    found = fit(open_dataset(str(recipe)), (3, 8, 8), FLOAT)
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes) == ([65, 970], 1000)
    assert _all(found)[:, 0, 0, 0].tolist() == [1, 0]
    (folder / "val.txt").write_text("v1.png\nv9.png 3\n")
    assert _refusal(tmp_path, "r.yaml") == (
        "val/val.txt:1: expected a file's name and the number of its class\n"
        "val/val.txt:2: no such image 'v9.png'"
    )
