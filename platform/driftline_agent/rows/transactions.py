"""One commit of SQLite: all of it, or nothing where something fails in it."""

import sqlite3


class Transaction:
    """What is done within it is stored in one step; the disk may be full at any of its statements."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
                return
            except sqlite3.Error:
                self._undo()
                raise
        self._undo()

    def _undo(self) -> None:
        if self._db.in_transaction:  # SQLite ends it by itself where the disk is full
            self._db.execute("ROLLBACK")
