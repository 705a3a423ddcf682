"""Points of sweeps in one SQLite file, so that a sweep can be stopped, killed and resumed.

A point is kept under the hash of everything that its figures hang on; running it again would give
the same. The file is in WAL mode: a commit is whole or not there after any crash, and several
processes may write, one commit after another. A point that finishes is committed, with those that
wait, once `COMMIT_S` have passed since the last commit: a kill loses at most the points that
finished within that time of each other, and whatever was running.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from npubench.errors import InputError, Problem

__all__ = ["COMMIT_S", "SweepStore", "content_key"]

COMMIT_S: Final = 0.05
_APPLICATION_ID: Final = 0x6E707562  # 'npub'
_VERSION: Final = 1
_BUSY_S: Final = 60.0


def content_key(parts: Mapping[str, Any]) -> str:
    """The hash of what a point's figures hang on; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class SweepStore:
    """An open file of points; use it in a ``with`` statement.

    Args:
        path: the file; it is made where it does not exist.
        must_exist: refuse to make it.

    Raises:
        InputError: a file that is none of ours, one of a newer npubench, or one that cannot be
            opened or written.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = Path(path)
        self._waiting: list[tuple[str, str]] = []
        self._last = time.monotonic()
        if must_exist and not self.path.is_file():
            raise InputError(Problem("no such file", file=str(path)))
        if not self.path.parent.is_dir():
            raise InputError(Problem(f"no such folder '{self.path.parent}'", file=str(path)))
        try:
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._open()
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def _open(self) -> None:
        db = self._db
        (found,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and found != _APPLICATION_ID:
            raise InputError(Problem("a database, but not of npubench", file=str(self.path)))
        if version > _VERSION:
            raise InputError(
                Problem(
                    f"written by a newer npubench: store version {version}, this one reads "
                    f"{_VERSION}",
                    file=str(self.path),
                    hint="upgrade npubench, or name another file",
                )
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute(
            "CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, point TEXT NOT NULL) "
            "WITHOUT ROWID"
        )

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.commit()
        finally:
            self._db.close()

    def __len__(self) -> int:
        """Points committed."""
        try:
            (count,) = self._db.execute("SELECT count(*) FROM points").fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from None
        return int(count)

    def find(self, key: str) -> dict[str, Any] | None:
        """The point under a key, as its JSON object; None where there is none."""
        try:
            row = self._db.execute("SELECT point FROM points WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from None
        if row is None:
            return None
        loaded: dict[str, Any] = json.loads(row[0])
        return loaded

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point as its JSON object, in the order of its keys."""
        try:
            for (text,) in self._db.execute("SELECT point FROM points ORDER BY key"):
                yield json.loads(text)
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def add(self, key: str, point: Mapping[str, Any]) -> None:
        """Keep a point; it is safe at once if `COMMIT_S` have passed since the last commit.

        Otherwise it is with the next point, or after `commit`.

        Raises:
            InputError: the file cannot be written, as on a full disk.
        """
        text = json.dumps(point, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        self._waiting.append((key, text))
        if time.monotonic() - self._last >= COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Write what is waiting; all of it or, on an error, nothing.

        Raises:
            InputError: the file cannot be written.
        """
        if self._waiting:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", self._waiting)
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise self._failure(error) from None
            self._waiting.clear()
        self._last = time.monotonic()

    def _failure(self, error: sqlite3.Error) -> InputError:
        return InputError(Problem(f"cannot be used as a store: {error}", file=str(self.path)))
