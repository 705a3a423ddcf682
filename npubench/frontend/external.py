"""Tensors kept in files beside the model: their place is checked, only small ones are read."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from onnx import TensorProto

from npubench.errors import ModelError, Problem

__all__ = ["ExternalData"]

# Axes, shapes and scales are smaller than this; weights are never read.
_SMALL_BYTES = 4_096


class ExternalData:
    """Reader of the small external tensors of one model.

    Args:
        folder: the model's folder; None for a model that is not a file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def small(self, tensor: TensorProto, name: str, size: int) -> tuple[bytes | None, str]:
        """The bytes of a small tensor, or None and why they are not known.

        A missing file is no mistake: weights are not needed, so a model may come without them.

        Raises:
            ModelError: the path is absolute or leaves the model's folder, the place in the file
                is not a number, or the file ends before the tensor does.
        """
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._inside(location, name)
        offset = _count(entries.get("offset", "0"), name, "offset")
        stated = _count(entries.get("length", str(size)), name, "length")
        if stated != size:
            raise ModelError(
                Problem(
                    f"tensor '{name}': its external data is stated as {stated} bytes, its shape "
                    f"takes {size}"
                )
            )
        if size > _SMALL_BYTES:
            return None, ""
        if path is None or not path.is_file():
            return None, f"its elements are in '{location}', which is not beside the model"
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                raw = stream.read(size)
        except OSError as error:
            return None, f"its elements are in '{location}', which cannot be read: {error.strerror}"
        if len(raw) < size:
            raise ModelError(
                Problem(
                    f"tensor '{name}': external file '{location}' ends before byte {offset + size}"
                )
            )
        return raw, ""

    def _inside(self, location: str, name: str) -> Path | None:
        """The path, after proof that it stays within the model's folder; links count."""
        # A model made on Windows is read anywhere, so both spellings of a path are looked at.
        windows = PureWindowsPath(location)
        if not location:
            problem = "has external data without a location"
        elif "\0" in location:
            problem = "has external data at a path that is no path"
        elif location.startswith("/") or windows.drive or windows.root:
            problem = f"has external data at the absolute path '{location}'"
        elif ".." in windows.parts:
            problem = f"has external data outside the model's folder, at '{location}'"
        elif self._folder is None:
            return None
        else:
            folder = self._folder.resolve()
            path = (folder / location).resolve()
            if path.is_relative_to(folder):
                return path
            problem = f"has external data at '{location}', a link out of the model's folder"
        raise ModelError(
            Problem(
                f"tensor '{name}' {problem}",
                hint="external data must lie in the folder of the model, at a relative path",
            )
        )


def _count(text: str, name: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelError(
            Problem(f"tensor '{name}': the {what} of its external data is '{text}', not a number")
        )
    return int(text)
