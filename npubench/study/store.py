"""Points of sweeps in one SQLite file, so that a sweep can be stopped, killed and resumed.

A point is kept under the hash of everything that its figures hang on; running it again would give
the same. The file is in WAL mode: a commit is whole or not there after any crash, and several
processes may write, one commit after another. A point is committed when it is added, before
anything else runs: 0.1 ms, less than any rule for waiting would be worth. What is committed
outlives the process at once, and the machine once SQLite has written its log through.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from npubench.errors import InputError, Problem

__all__ = ["SweepStore", "content_key"]

_APPLICATION_ID: Final = 0x6E707562  # 'npub'
_VERSION: Final = 1
_BUSY_S: Final = 60.0
_RETRY_S: Final = 0.02
_TABLE: Final = "CREATE TABLE points (key TEXT PRIMARY KEY, point TEXT NOT NULL) WITHOUT ROWID"


def content_key(parts: Mapping[str, Any]) -> str:
    """The hash of what a point's figures hang on; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class SweepStore:
    """An open file of points; use it in a ``with`` statement, in one thread.

    Args:
        path: the file; it is made where it does not exist.
        must_exist: refuse to make it.
        read_only: for looking into it; works on a file or in a folder that cannot be written, and
            implies ``must_exist``.

    Raises:
        InputError: a file that is none of ours, one of a newer npubench, or one that cannot be
            opened, or written where that is asked for.
    """

    def __init__(
        self, path: str | Path, *, must_exist: bool = False, read_only: bool = False
    ) -> None:
        self.path = Path(path)
        if (must_exist or read_only) and not self.path.is_file():
            raise InputError(Problem("no such file", file=str(path)))
        if not self.path.parent.is_dir():
            raise InputError(Problem(f"no such folder '{self.path.parent}'", file=str(path)))
        try:
            if read_only:
                self._db = self._looking()
            else:
                self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
                self._check(self._db)
                self._prepare()
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def _looking(self) -> sqlite3.Connection:
        """A connection that never writes."""
        log = self.path.with_name(self.path.name + "-wal")
        db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.execute("PRAGMA query_only = ON")
            self._check(db)
        except sqlite3.OperationalError:
            # A file in WAL mode needs an index beside it, which cannot be made here. Without a log
            # nobody writes and the file alone is all there is; with one, points would be missing.
            db.close()
            if log.exists() and log.stat().st_size:
                raise InputError(
                    Problem(
                        f"cannot be opened where it is: points are still in '{log.name}'",
                        file=str(self.path),
                        hint="copy both files to a folder that can be written, and look there",
                    )
                ) from None
            uri = f"{self.path.absolute().as_uri()}?immutable=1"
            db = sqlite3.connect(uri, uri=True, isolation_level=None)
            self._check(db)
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        """Refuse what is no store, or one that this version does not know."""
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
        self._empty = not tables

    def _prepare(self) -> None:
        """Make the table where there is none; find out now whether the file can be written."""
        db = self._db
        if self._empty:
            self._to_log()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {_VERSION}")
                db.execute(_TABLE)
            db.execute("COMMIT")
            self._empty = False
        except sqlite3.Error:
            self._undo()
            raise

    def _to_log(self) -> None:
        """WAL mode; SQLite does not wait by itself where another process is just doing the same."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)
            else:
                return

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def __len__(self) -> int:
        """Points kept."""
        if self._empty:
            return 0
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
        if self._empty:
            return
        try:
            for (text,) in self._db.execute("SELECT point FROM points ORDER BY key"):
                yield json.loads(text)
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def add(self, key: str, point: Mapping[str, Any]) -> None:
        """Keep a point; when this returns it is safe.

        Raises:
            InputError: the file cannot be written, as on a full disk.
        """
        self.add_all([(key, point)])

    def add_all(self, points: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Keep points that finished together, in one commit: all of them or, on an error, none.

        Raises:
            InputError: the file cannot be written.
        """
        rows = [
            (key, json.dumps(one, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
            for key, one in points
        ]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise self._failure(error) from None

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _failure(self, error: sqlite3.Error) -> InputError:
        return InputError(Problem(f"cannot be used as a store: {error}", file=str(self.path)))
