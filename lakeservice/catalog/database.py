"""The DuckDB file of the index: its tables, its cursors, and what it was made from."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from schemas.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt


FORMAT = 2
"""Version of the tables; a file of another one is thrown away and rebuilt."""

_TABLES = """
CREATE TABLE state (
    format INTEGER, lake VARCHAR, version BIGINT, mark VARCHAR, secret BLOB
);
CREATE TABLE keys (key VARCHAR, number INTEGER);
CREATE TABLE nodes (number INTEGER, parent INTEGER, seq BIGINT, hash UBIGINT, name VARCHAR);
CREATE TABLE documents (number BIGINT, node INTEGER, record INTEGER, document VARCHAR);
CREATE TABLE requests (hash UBIGINT, version BIGINT, key VARCHAR);
CREATE TABLE runs (id INTEGER, ordered BOOLEAN, numbers BIGINT, texts BIGINT);
"""

logger = logging.getLogger(__name__)


class Database:
    """One DuckDB database for one process, with a cursor for whoever needs one.

    Nothing in it is truth: a file that cannot be used is deleted and begun anew.

    Parameters
    ----------
    file
        Where to keep it; None keeps it in memory.
    spill
        Folder for what does not fit into memory for a moment; None for nowhere.
    lake
        Id of the lake that it indexes.
    memory_limit_mb
        Memory that DuckDB may take, in MB.
    threads
        Threads that one query may use.
    """

    def __init__(
        self,
        file: Path | None,
        lake: str,
        *,
        spill: Path | None,
        memory_limit_mb: int,
        threads: int,
    ) -> None:
        self._config: dict[str, Any] = {
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": threads,
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._mutex = threading.Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._closed = False
        if spill is not None:
            self._config["temp_directory"] = str(spill)
        self._connection = self._open(file, lake)
        state = self._connection.execute("SELECT version, mark, secret FROM state").fetchall()[0]
        self.version: int = state[0]
        """Log version that the file holds, as it was when it was opened."""
        self.mark: str = state[1]
        """What tells the commit of that version from any other."""
        self.secret = bytes(state[2])
        """Key of the hashes in it."""

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a cursor of its own; several threads may have one each."""
        with self._mutex:
            if self._closed:
                raise UnavailableError(ErrorKind.BUSY, "the index is being closed; try later")
            cursor = self._idle.pop() if self._idle else self._connection.cursor()
        try:
            yield cursor
        except BaseException:
            # It may hold a result that nobody has fetched, which would be in the next one's way.
            cursor.close()
            raise
        with self._mutex:
            if not self._closed:
                self._idle.append(cursor)
                return
        cursor.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a cursor; what is done with it happens as a whole, or not at all."""
        with self.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            except BaseException:
                # A failed statement may have ended the transaction already.
                with contextlib.suppress(duckdb.Error):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def close(self) -> None:
        """Write everything into the file and release it."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
        for cursor in idle:
            cursor.close()
        self._connection.close()

    def _open(self, file: Path | None, lake: str) -> duckdb.DuckDBPyConnection:
        if file is None:
            return self._create(duckdb.connect(":memory:", config=self._config), lake)
        if file.exists():
            connection = self._reopen(file, lake)
            if connection is not None:
                return connection
            logger.warning("the cached index is of another format or damaged; rebuilding it")
            remove_database(file)
        return self._create(duckdb.connect(str(file), config=self._config), lake)

    def _reopen(self, file: Path, lake: str) -> duckdb.DuckDBPyConnection | None:
        connection = None
        try:
            connection = duckdb.connect(str(file), config=self._config)
            # A rebuild that was interrupted has nodes, but no version yet.
            rows = connection.execute(
                "SELECT format, lake, version > 0 OR NOT EXISTS (FROM nodes) FROM state"
            ).fetchall()
            if rows == [(FORMAT, lake, True)]:
                return connection
        except duckdb.Error:
            logger.info("the cached index cannot be opened", exc_info=True)
        if connection is not None:
            connection.close()
        return None

    def _create(
        self, connection: duckdb.DuckDBPyConnection, lake: str
    ) -> duckdb.DuckDBPyConnection:
        connection.execute("BEGIN")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO state VALUES (?, ?, 0, '', ?)", [FORMAT, lake, secrets.token_bytes(16)]
        )
        connection.execute("COMMIT")
        return connection


def statement(template: str, **parts: str) -> str:
    """Return SQL with names of our own tables, and conditions written in this package, put in.

    What comes from a request is never a part: it goes as a parameter, ``$1``.
    """
    return template.format(**parts)


def fetch_columns(
    cursor: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Return what a query finds as arrays of numbers."""
    found: dict[str, Any] = cursor.execute(query, list(parameters)).fetchnumpy()
    return found


def fetch_many(
    cursor: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the same, half as quickly for a few rows and twice as quickly for a million."""
    found = cursor.sql(query, params=list(parameters)).to_arrow_table()
    empty = {name: np.zeros(0, found[name].type.to_pandas_dtype()) for name in found.column_names}
    return {
        name: np.concatenate([none, *(chunk.to_numpy() for chunk in found[name].chunks)])
        for name, none in empty.items()
    }


def remove_database(file: Path) -> None:
    """Delete a database file and its write-ahead log."""
    for old in file.parent.glob(f"{file.name}*"):
        old.unlink()
