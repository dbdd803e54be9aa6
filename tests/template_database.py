"""Makes the migrated database that each worker of a test run copies: `python -m tests.template_database`.

To migrate an empty database takes some seconds of processor time, to load what that leaves less than one. So a dump
of it stays in pytest's cache, named after all that it follows from.
"""

import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from driftline.operations.services.paths import home_paths
from driftline.operations.services.postgres import postgres_binaries
from driftline.operations.services.urls import DATABASE_NAME, DATABASE_USER, embedded_database_settings

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = CHECKOUT / ".pytest_cache/driftline"


def dump_path() -> Path:
    """Name the dump after what makes the database: migrations, models, the releases of packages, and the week.

    Migrations make the part of the log that the rows of their week go into.
    """
    sources = [
        path
        for folder in (CHECKOUT / "platform/driftline", CHECKOUT / "inference", CHECKOUT / "monitors")
        for path in sorted(folder.rglob("*.py"))
        if path.parent.name == "migrations" or path.name == "models.py"
    ]
    digest = sha256(f"{datetime.now(UTC):%G-%V}".encode())
    for path in (Path(__file__), CHECKOUT / "requirements.txt", *sources):
        digest.update(f"{path.relative_to(CHECKOUT)} {sha256(path.read_bytes()).hexdigest()}".encode())
    return CACHE / f"{digest.hexdigest()[:32]}.sql"


def main(home: str) -> None:
    """Load the dump into the embedded server's own, empty database; where there is none, migrate and keep it."""
    dump = dump_path()
    if dump.exists():
        _run(
            home,
            "psql",
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--single-transaction",
            f"--file={dump}",
        )
        return
    command = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = dump.with_suffix(f".{home_paths(home).home.name}")
    _run(home, "pg_dump", f"--file={unfinished}")
    for outdated in CACHE.glob("*.sql"):
        outdated.unlink(missing_ok=True)
    unfinished.rename(dump)


def _run(home: str, program: str, *options: str) -> None:
    settings = embedded_database_settings(home_paths(home).home)
    server = [f"--host={settings['HOST']}", f"--port={settings['PORT']}", f"--username={DATABASE_USER}"]
    command = [str(postgres_binaries() / program), *server, f"--dbname={DATABASE_NAME}", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1])
