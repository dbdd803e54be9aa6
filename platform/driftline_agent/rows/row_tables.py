"""The file of rows: its tables, and its bound, which the file and its log share."""

import sqlite3

from driftline_agent.rows.transactions import Transaction

MAX_LOG_BYTES = 4 << 20
"""Of the bound, for the log of SQLite beside the file."""
_PAGE_BYTES = 4096
_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS rows (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, running_ms INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL, event_ms INTEGER, body BLOB NOT NULL, is_whole INTEGER NOT NULL DEFAULT 1
)
""",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    """
CREATE TABLE IF NOT EXISTS windows (
    version TEXT NOT NULL, hour_ms INTEGER NOT NULL, segment TEXT NOT NULL, batch TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL, summary BLOB NOT NULL
)
""",
    "CREATE TABLE IF NOT EXISTS layouts (version TEXT PRIMARY KEY, document TEXT NOT NULL)",
)
_NEW_COLUMN = "ALTER TABLE rows ADD COLUMN is_whole INTEGER NOT NULL DEFAULT 1"
_INDEX = "CREATE INDEX IF NOT EXISTS rows_to_add ON rows (sequence) WHERE NOT is_whole"


class NeedsSequence(Exception):
    """The file holds no numbers yet, or is not there, and nobody has said with which number it begins."""


class Damaged(Exception):
    """The file is no database of SQLite, or its pages contradict each other."""


def set_limits(db: sqlite3.Connection, max_bytes: int) -> int:
    """Keep the file and its log within a bound, and return how many bytes one commit may have.

    The log is written back, and cut, long before it is full. Raises Damaged.
    """
    log_bytes = min(MAX_LOG_BYTES, max_bytes // 4)
    commit_bytes = log_bytes // 4
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {max(commit_bytes // _PAGE_BYTES, 1)}")
    db.execute(f"PRAGMA journal_size_limit = {commit_bytes}")
    db.execute("PRAGMA cache_size = -512")
    db.execute(f"PRAGMA max_page_count = {max((max_bytes - log_bytes) // _PAGE_BYTES, 16)}")
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise Damaged("its pages contradict each other")
    return commit_bytes


def make_tables(db: sqlite3.Connection, first_sequence: int | None) -> None:
    """Make what is missing, with the number that comes first, in one transaction; raises NeedsSequence without it."""
    with Transaction(db):
        has_numbers = _has_numbers(db)
        if not has_numbers and first_sequence is None:
            raise NeedsSequence
        for statement in _SCHEMA:
            db.execute(statement)
        if not _count(db, "pragma_table_info('rows') WHERE name = 'is_whole'"):
            db.execute(_NEW_COLUMN)
        db.execute(_INDEX)
        if first_sequence is not None and not has_numbers:
            db.execute("INSERT INTO sqlite_sequence VALUES ('rows', ?)", [first_sequence - 1])


def _has_numbers(db: sqlite3.Connection) -> bool:
    """Return whether the file says which numbers it has given; a power cut may leave one that is empty."""
    has_table = _count(db, "sqlite_master WHERE name = 'sqlite_sequence'")
    return bool(has_table) and bool(_count(db, "sqlite_sequence WHERE name = 'rows'"))


def _count(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
