"""Looks at an installation and its services, and says what is wrong and how to mend it."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from cryptography.x509 import load_pem_x509_certificates
from django.conf import settings
from django.db import DatabaseError, connection
from kombu import Connection

from driftline.base.accounts.audit.chain import check_chain, oldest_unsealed
from driftline.base.accounts.models import User
from driftline.base.accounts.operators import operators
from driftline.base.byte_sizes import format_bytes
from driftline.base.clock import now
from driftline.base.database.replica import describe_replica
from driftline.base.extras import command_for
from driftline.base.feature import Finding, features
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.operations.audit_export.selectors import export_statuses
from driftline.operations.backup.archiver import read_archiver
from driftline.operations.backup.making import last_backup
from driftline.operations.given_up import Piece, given_up, late
from driftline.operations.models import Heartbeat
from driftline.operations.services.missing_extras import missing_extras
from driftline.operations.services.ownership import current_owner
from driftline.operations.services.paths import OTHERS, HomePaths
from driftline.operations.services.postgres import NoPostgres, postgres_binaries
from driftline.operations.services.valkey import NoValkey, valkey_binary
from driftline.operations.services.wal_segment import GIVE_UP_BELOW_BYTES, SEGMENT_BYTES
from driftline.operations.stuck_work import count_failed, stuck_work
from driftline.operations.upgrade.pending import read_pending
from inference.prediction_log.encryption.key_health import look_at_keys
from inference.prediction_log.spool.sealing import KEY_FILE, master_keys
from inference.prediction_log.storage.damaged_chunks import describe_marked

OLDEST_PYTHON, OLDEST_POSTGRES = (3, 12), 15
MIN_FREE_BYTES = 2 << 30
NAMED = 5  # of what failed
SENT_LATE_AFTER = timedelta(minutes=5)
UNSEALED_AFTER = timedelta(minutes=10)
MAX_NAMED = 20  # of the chunks that are damaged
RENEW_WITHIN = timedelta(days=14)  # certificates of 90 days, and of 47, are renewed before
SILENT_AFTER = timedelta(seconds=60)  # four ticks of the heartbeat


def diagnose(paths: HomePaths) -> Iterator[Finding]:
    """Look at everything, the basics first; what depends on a broken part is not looked at."""
    yield from diagnose_machine(paths)
    yield _supervisor(paths)
    yield _broker()
    database = diagnose_database()
    yield database
    if database.is_fine:
        yield _commits()
        yield from _replica()
        migrations = _migrations()
        yield migrations
        if migrations.is_fine:
            yield _heartbeat(paths)
            yield _log_keys(paths)
            yield _stuck_work()
            yield _operators()
            yield _last_backup()
            yield from _wal_archive(paths)
            yield _audit_trail(paths)
            yield _log_chunks()
            yield from _background_work()
            for feature in features():
                yield from feature.findings()
            yield from _audit_exports()
            yield from _missing_extras()


def diagnose_machine(paths: HomePaths) -> Iterator[Finding]:
    """Look at what must be there before anything can start."""
    yield _python()
    yield _home(paths)
    yield _disk(paths)
    yield from _embedded_binaries()
    yield from _certificate()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    remedy = (
        "" if sys.version_info >= OLDEST_PYTHON else "Install Python 3.12 or later and run .ci/setup again."
    )
    return Finding("Python", f"version {version} at {sys.executable}", remedy)


def _home(paths: HomePaths) -> Finding:
    if paths.home.is_dir() and os.access(paths.home, os.W_OK | os.X_OK):
        mode = stat.S_IMODE(paths.home.stat().st_mode)
        if mode & OTHERS & ~paths.home_mode:
            text = f"other users of this machine can reach {paths.home} (mode {mode:04o})"
            return Finding(
                "home", text, f"Run chmod {paths.home_mode:03o} {paths.home}: it holds keys and mail."
            )
        return Finding("home", f"{paths.home} can be written, by its owner alone")
    remedy = "Make the folder and give it to the user who runs Driftline, or set DRIFTLINE_HOME to another."
    return Finding("home", f"{paths.home} cannot be written", remedy)


def _disk(paths: HomePaths) -> Finding:
    folder = next(found for found in (paths.home, *paths.home.parents) if found.exists())
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= MIN_FREE_BYTES else "Make room: predictions are refused once the spool has none."
    return Finding("disk", f"{format_bytes(free)} free at {folder}", remedy)


def _embedded_binaries() -> Iterator[Finding]:
    if not settings.DATABASE_URL:
        yield _binary("embedded PostgreSQL", postgres_binaries)
    if not settings.BROKER_URL:
        yield _binary("embedded Valkey", valkey_binary)


def _binary(subject: str, locate: Callable[[], object]) -> Finding:
    try:
        return Finding(subject, f"found at {locate()}")
    except (NoPostgres, NoValkey) as error:
        return Finding(subject, "not installed", str(error))


def _certificate() -> Iterator[Finding]:
    """Yield until when the certificate of the serving ports is valid, where Driftline itself ends TLS."""
    if settings.TLS_CERTIFICATE is None:
        return
    subject, remedy = "TLS certificate", "Renew the file; the server uses a new one without a restart."
    try:
        ends = load_pem_x509_certificates(settings.TLS_CERTIFICATE.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError) as error:
        yield Finding(subject, f"{settings.TLS_CERTIFICATE} cannot be read: {error}", remedy)
        return
    text = f"{settings.TLS_CERTIFICATE} is valid until {ends:%Y-%m-%d %H:%M} UTC"
    yield Finding(subject, text, remedy if ends - now() < RENEW_WITHIN else "")


def _supervisor(paths: HomePaths) -> Finding:
    owner = current_owner(paths)
    if owner is None:
        return Finding("supervisor", "none runs this home")
    return Finding("supervisor", f"process {owner.pid} serves {owner.url} since {owner.since}")


def _broker() -> Finding:
    url = settings.CELERY_BROKER_URL
    with Connection(url, connect_timeout=3) as broker:
        shown = broker.as_uri()  # with the password hidden
        try:
            broker.ensure_connection(max_retries=1, timeout=3)
        except Exception as error:  # each transport raises its own kinds
            return Finding(
                "broker", f"no answer from {shown}: {error}", _start_or_set("DRIFTLINE_BROKER_URL")
            )
    return Finding("broker", f"answers at {shown}")


def diagnose_database() -> Finding:
    """Look whether the database answers, and is of a version that this release works with."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        return Finding("database", f"no answer: {reason}", _start_or_set("DRIFTLINE_DATABASE_URL"))
    major = connection.connection.server_version // 10_000
    remedy = "" if major >= OLDEST_POSTGRES else f"Upgrade it to PostgreSQL {OLDEST_POSTGRES} or later."
    return Finding("database", f"PostgreSQL {major} answers", remedy)


def _start_or_set(variable: str) -> str:
    return f"Start the installation (make run), or point {variable} at a server that runs."


def _commits() -> Finding:
    """What was acknowledged survives only if the server writes a commit to its disk before it says so."""
    wanted = {"fsync": {"on"}, "synchronous_commit": {"on", "remote_write", "remote_apply"}}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(wanted)])
        found = dict(cursor.fetchall())
    wrong = [name for name, values in wanted.items() if found[name] not in values]
    text = ", ".join(f"{name} is {found[name]}" for name in wanted)
    remedy = f"Set {' and '.join(wrong)} to on: acknowledged predictions could be lost." if wrong else ""
    return Finding("commits", text, remedy)


def _migrations() -> Finding:
    found = read_pending()
    if found.refused:
        return Finding("migrations", found.refused.text, found.refused.remedy)
    missing = len(found.names)
    remedy = "Run manage.py upgrade." if missing else ""
    return Finding("migrations", f"{missing} to apply" if missing else "all applied", remedy)


def _log_keys(paths: HomePaths) -> Finding:
    """Return what is sealed, and which keys must come back for it to be read."""
    health = look_at_keys(paths.home)
    can_seal = not settings.ENCRYPT_LOG or bool(master_keys(paths.home))
    text = f"{health.sealed_chunks} sealed chunks and {health.sealed_files} sealed files of spool and jobs"
    if health.is_whole and can_seal:
        return Finding("log keys", f"{text}, all with their keys")
    lost = ", ".join(f"{count} need key {key}" for key, count in health.lost_chunks.items()) or "no chunk"
    masters = f" (master keys {', '.join(health.missing_masters)})" if health.missing_masters else ""
    return Finding(
        "log keys",
        f"{text}; not to be opened: {lost}, {health.lost_files} files{masters}",
        f"Add the lines of {paths.home / KEY_FILE} from a backup below those that are there, "
        "and the rows of inference_logkey that are missing.",
    )


def _stuck_work() -> Finding:
    """Name what could not be summarised, measured or judged: nobody tries it again by itself."""
    failed = [one for one in stuck_work() if one.is_failed]
    if not failed:
        return Finding("failed work", "none")
    named = "; ".join(
        f"{one.model.project.slug}/{one.model.name}: {one.what}"
        f"{f' from {one.start:%Y-%m-%d %H:%M}' if one.start else ''} ({one.reason})"
        for one in failed[:NAMED]
    )
    return Finding(
        "failed work",
        f"{count_failed()} failed {MAX_ATTEMPTS} times: {named}",
        "Mend what the reasons name, then press Try again on the model's page, or POST to its /retry.",
    )


def _operators() -> Finding:
    """Return whether anybody can open the admin: nobody else makes an operator there."""
    count = operators().count()
    if count:
        return Finding("operators", f"{count:,} can sign in")
    if not User.objects.exists():
        return Finding("operators", "no account yet; the first start makes an operator")
    return Finding(
        "operators",
        "none can sign in, so nobody opens the admin",
        "Run manage.py createsuperuser with an address that has no account; sign in as that operator, and give the "
        "accounts of before their rights back under Users in the admin.",
    )


def _audit_trail(paths: HomePaths) -> Finding:
    """Compute the hash chain of the audit trail anew, and see that entries join it."""
    report, waits_since = check_chain(paths.home), oldest_unsealed()
    text = f"{report.sealed:,} of {report.entries:,} entries are in the chain"
    if report.broken:
        return Finding(
            "audit trail",
            report.broken,
            "Compare it with a backup, and find out who could write to the database. Was a backup restored, run "
            "manage.py verify_audit --accept-restored.",
        )
    if waits_since is not None and now() - waits_since > UNSEALED_AFTER:
        return Finding("audit trail", f"{text}; one waits since {waits_since:%H:%M}", _revive(paths))
    return Finding("audit trail", text)


def _log_chunks() -> Finding:
    """Name the chunks that a worker could not open; `check_invariants` opens every one."""
    damaged = describe_marked()
    if not damaged:
        return Finding("log chunks", "none is known to be damaged")
    return Finding(
        "log chunks",
        f"damaged: {', '.join(damaged[:MAX_NAMED])}" + (" and others" if len(damaged) > MAX_NAMED else ""),
        "Put `payload` and `labels` of their rows of inference_predictionchunk back from a backup, or import these "
        "predictions again under a new version; look at the disk and its file system.",
    )


def _heartbeat(paths: HomePaths) -> Finding:
    newest = Heartbeat.objects.order_by("-at").first()
    silence = now() - newest.at if newest else None
    text = (
        f"consumed its last tick {silence.total_seconds():.0f} s ago" if silence else "has consumed no tick"
    )
    if silence is not None and silence <= SILENT_AFTER:
        return Finding("worker", text)
    if _has_just_started(paths):
        return Finding("worker", f"{text}; it has just been started")
    return Finding("worker", text, _revive(paths))


def _background_work() -> Iterator[Finding]:
    """Yield what long work was given up or waits too long."""
    failed, waiting = given_up(), late()
    yield Finding(
        "background work",
        f"{len(failed)} pieces given up"
        + "".join(f"; {_describe(piece)}: {piece.reason}" for piece in failed[:3]),
        "See Settings, Background work, or manage.py retry_work: it begins them afresh or dismisses them."
        if failed
        else "",
    )
    yield Finding(
        "waiting work",
        f"{len(waiting)} pieces wait for longer than an hour"
        + "".join(f"; {_describe(one)}" for one in waiting[:3]),
        "See that workers run and are not all held by one project; start more (DRIFTLINE_TASK_WORKERS)."
        if waiting
        else "",
    )


def _describe(piece: Piece) -> str:
    return f"{piece.subject} of project {piece.project}"


def _has_just_started(paths: HomePaths) -> bool:
    owner = current_owner(paths)
    return owner is not None and now() - datetime.fromisoformat(owner.since) <= SILENT_AFTER


def _revive(paths: HomePaths) -> str:
    return f"See that scheduler and worker run (logs: {paths.log}); if they do, restart the worker."


def _replica() -> Iterator[Finding]:
    """Look at the standby that pages are read from, where one is set."""
    if settings.REPLICA_URL:
        trouble = describe_replica()
        remedy = (
            "Start it or mend its replication; until then the primary answers everything." if trouble else ""
        )
        yield Finding("replica", trouble or "pages and lists are read from it", remedy)


def _last_backup() -> Finding:
    """Return when the last backup was made; whether one is due depends on what else copies this installation."""
    made = last_backup()
    if made is None:
        return Finding("last backup", "none was made; manage.py backup FOLDER makes one")
    days = (now() - made.at) / timedelta(days=1)
    return Finding("last backup", f"{made.at:%Y-%m-%d %H:%M} UTC, {days:.1f} days ago, in {made.subject}")


def _wal_archive(paths: HomePaths) -> Iterator[Finding]:
    """Yield how the log is archived, where it is to be, and why moments might not be restorable."""
    archive = settings.WAL_ARCHIVE
    if archive is None or settings.DATABASE_URL:
        return
    found = read_archiver(paths, archive)
    last = f"{found.archived_at:%Y-%m-%d %H:%M:%S} UTC" if found.archived_at else "not seen yet"
    text = (
        f"{format_bytes(found.archive_bytes)} in {archive}; last segment archived: {last}; {found.waiting} wait, "
        f"{format_bytes(found.waiting * SEGMENT_BYTES)} on the database's disk"
    )
    remedy = ""
    if not found.is_on:
        text = f"DRIFTLINE_WAL_ARCHIVE is {archive}, and the server runs without it"
        remedy = "Restart the installation with this setting."
    elif found.is_failing:
        text = f"it fails: {text}"
        remedy = (
            f"See that {archive} is there, has room and can be written; {paths.log}/postgres.log says what failed. "
            f"With less than {format_bytes(GIVE_UP_BELOW_BYTES)} free for the database, and less than what waits, that "
            "is given up."
        )
    elif found.is_late(now()):
        remedy = (
            f"See whether the disk of {archive} is fast enough: the oldest waits since {found.waiting_since}."
        )
    elif not found.has_base:
        remedy = "Run manage.py backup: no backup leads to this log, so no moment of it can be restored yet."
    yield Finding("log archive", text, remedy)


def _audit_exports() -> Iterator[Finding]:
    """Yield how far the receivers of audit entries are, and why one is not further."""
    for status in export_statuses(now=now()):
        subject = f"audit trail to {status.receiver}"
        text = f"{status.waiting:,} entries wait, the oldest for {status.behind_seconds:,.0f} s"
        if status.failing_since is not None:
            text = f"{text}; nothing sent since {status.failing_since:%Y-%m-%d %H:%M:%S} UTC: {status.error}"
            yield Finding(subject, text, "Mend it, or correct DRIFTLINE_AUDIT_*: entries wait until then.")
        elif status.behind_seconds > SENT_LATE_AFTER.total_seconds():
            yield Finding(subject, text, "See that manage.py consume runs, and look at its log.")
        else:
            yield Finding(subject, text)


def _missing_extras() -> Iterator[Finding]:
    for extra, users in missing_extras().items():
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        text = f"not installed, and needed by {', '.join(users[:NAMED])}{more}"
        yield Finding(f"extra {extra.name}", text, f"Run {command_for(extra)}, and restart Driftline.")
