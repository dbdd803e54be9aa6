"""The hash chain over the audit trail: seals entries into it, and checks that they are as they were sealed.

An entry is written in the transaction of the act that it records, which may last, so it joins the chain afterwards:
once that transaction has committed, and by a tick where that failed. Whoever seals is alone, gives the entries that it
can see the next numbers without a gap, and hashes each with the hash of the one before. So the chain is in the order of
sealing, which is the order of commits to within a tick, and no act waits for another one's transaction.

`digest` is a hash of an entry's content with a random salt; `hash` of the hash before, the number and the digest. An
erasure takes a person out of an entry and throws its salt away: nobody can find the name by trying, the chain still
holds, and a later entry says what was taken out and has the digest of what is left.

The home keeps the newest number and hash in a file, the anchor: whoever can write to the database alone may cut the
chain's end off or compute it all anew, and is found out by it.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Min, QuerySet, TextField
from django.db.models.functions import Cast
from psycopg2.extras import execute_values

from driftline.base.accounts.models import AuditEntry
from driftline.base.durable_files import write_file
from driftline.base.work.advisory_locks import AdvisoryLock, try_lock

log = logging.getLogger(__name__)

FIRST_HASH = "0" * 64
ERASED = "[erased]"
REDACT = "audit.redact"
REDACTABLE = ("subject", "before", "after")
TRIGGERS = ("audit_is_only_added_to", "audit_is_not_truncated")
_BATCH = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTENT = (
    "pk", "at", "project_id", "project_slug", "actor", "action", "subject", "before_text", "after_text",
    "address", "token_id", "token_name", "correlation",
)  # fmt: skip


@dataclass(frozen=True)
class ChainHead:
    """The end of the chain."""

    number: int
    hash: str


@dataclass(frozen=True)
class ChainReport:
    """What checking the chain found; `broken` names the first entry that is not as it was sealed, if one is not."""

    entries: int
    sealed: int
    redacted: int
    head: ChainHead
    broken: str = ""


# -- hashing -----------------------------------------------------------------------------------------------------------
def digest_of_content(salt: UUID | str, content: Collection[str | int | None]) -> str:
    """Hash an entry's content, in the order of its columns, with its salt."""
    return hashlib.sha256(json.dumps([str(salt), *content]).encode()).hexdigest()


def hash_of_link(previous: str, number: int, digest: str) -> str:
    """Hash one link of the chain."""
    return hashlib.sha256(f"{previous} {number} {digest}".encode()).hexdigest()


def _with_texts(rows: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    """Read JSON as PostgreSQL writes it, which is the same for equal values."""
    return rows.annotate(before_text=Cast("before", TextField()), after_text=Cast("after", TextField()))


def _content(row: Mapping[str, Any]) -> list[str | int | None]:
    return [
        (row[name] - _EPOCH) // timedelta(microseconds=1) if name == "at" else row[name] for name in _CONTENT
    ]


# -- sealing -----------------------------------------------------------------------------------------------------------
def seal_soon() -> None:
    """Seal once the caller's transaction has committed; where that fails, the tick does it."""
    transaction.on_commit(_try_to_seal)


def _try_to_seal() -> None:
    try:
        seal_entries()
    except DatabaseError:
        log.warning("the audit trail is sealed later", exc_info=True)


def seal_entries() -> int:
    """Put every entry that is not in the chain in its place there, and return how many there were.

    Nothing is sealed while another process seals: it does not wait for that one.
    """
    sealed = many = _seal_batch()
    while many == _BATCH:
        many = _seal_batch()
        sealed += many
    return sealed


@transaction.atomic
def _seal_batch() -> int:
    if not try_lock(AdvisoryLock.AUDIT_SEALING):
        return 0
    waiting = AuditEntry.objects.filter(number=None).order_by("pk")
    rows = list(_with_texts(waiting).values("salt", *_CONTENT)[:_BATCH])
    if not rows:
        return 0
    before = head = _head()
    links = []
    for row in rows:
        digest = digest_of_content(row["salt"], _content(row))
        head = ChainHead(head.number + 1, hash_of_link(head.hash, head.number + 1, digest))
        links.append((row["pk"], head.number, digest, head.hash))
    with connection.cursor() as cursor:
        execute_values(
            cursor.cursor,
            "UPDATE accounts_auditentry AS entry SET number = link.number, digest = link.digest, hash = link.hash "
            "FROM (VALUES %s) AS link (id, number, digest, hash) WHERE entry.id = link.id",
            links,
            page_size=_BATCH,
        )
    transaction.on_commit(lambda: _move_anchor(before, head))
    return len(rows)


def _head() -> ChainHead:
    newest = AuditEntry.objects.exclude(number=None).order_by("-number").values_list("number", "hash").first()
    return ChainHead(*newest) if newest else ChainHead(0, FIRST_HASH)  # type: ignore[arg-type]


def oldest_unsealed() -> datetime | None:
    """Return when the oldest entry was written that is not in the chain yet."""
    oldest: datetime | None = AuditEntry.objects.filter(number=None).aggregate(at=Min("at"))["at"]
    return oldest


# -- taking a person out -----------------------------------------------------------------------------------------------
@transaction.atomic
def redact(fields: Mapping[int, Collection[str]], *, record: Callable[..., AuditEntry]) -> AuditEntry:
    """Blank some of the `REDACTABLE` fields of entries, by their primary keys; return the entry that says so.

    `record` writes that entry; the database refuses to blank an entry that none names.
    """
    rows = list(_with_texts(AuditEntry.objects.filter(pk__in=fields)).values("before", "after", *_CONTENT))
    salts = {row["pk"]: uuid4() for row in rows}
    blanked: dict[int, dict[str, Any]] = {}
    digests: dict[str, str] = {}
    for row in rows:
        pk = row["pk"]
        blanked[pk] = {name: ERASED for name in fields[pk] if row[name] is not None}
        texts = {
            name if name == "subject" else f"{name}_text": ERASED if name == "subject" else json.dumps(ERASED)
            for name in blanked[pk]
        }
        digests[str(pk)] = digest_of_content(salts[pk], _content(row | texts))
    redaction = record(action=REDACT, subject=f"{len(rows)} entries", after={"entries": digests})
    for pk, changes in blanked.items():
        AuditEntry.objects.filter(pk=pk).update(**changes, salt=salts[pk], redaction=redaction)
    return redaction


# -- the anchor --------------------------------------------------------------------------------------------------------
def anchor_path(home: Path) -> Path:
    """Return where a home keeps the newest link of the chain of this database."""
    name = str(connection.settings_dict["NAME"]).replace("/", "_")
    return home / "audit" / f"{name}.json"


def read_anchor(home: Path) -> ChainHead | None:
    """Read the newest link that this home saw; None where it has seen none."""
    try:
        kept = json.loads(anchor_path(home).read_text())
        return ChainHead(int(kept["number"]), str(kept["hash"]))
    except FileNotFoundError:
        return None


def _move_anchor(before: ChainHead, head: ChainHead) -> None:
    """Remember the chain's end, unless what was remembered is neither the end `before` nor in the chain any more.

    That is evidence, which stays until a person says what happened.
    """
    try:
        anchor = read_anchor(settings.HOME)
        if anchor is None or anchor == before or (anchor.number < head.number and _is_in_chain(anchor)):
            write_anchor(settings.HOME, head)
    except (OSError, ValueError, KeyError):
        log.warning("the end of the audit trail could not be noted in the home", exc_info=True)


def write_anchor(home: Path, head: ChainHead) -> None:
    """Keep a link as the newest one of this home."""
    path = anchor_path(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(path, json.dumps({"number": head.number, "hash": head.hash}).encode(), mode=0o600)


def _is_in_chain(head: ChainHead) -> bool:
    return head.number == 0 or AuditEntry.objects.filter(number=head.number, hash=head.hash).exists()


# -- checking ----------------------------------------------------------------------------------------------------------
def check_chain(home: Path, *, expected: ChainHead | None = None) -> ChainReport:
    """Compute the whole chain anew and compare it with what is stored, with the home's anchor and with `expected`.

    `expected` is a link that somebody noted elsewhere. The statements read what is committed when each begins.
    """
    with transaction.atomic():
        head = _head()
        redactions = _redactions()
        broken = ""
        checked, redacted, link = 0, 0, ChainHead(0, FIRST_HASH)
        for row in _sealed_rows(head.number):
            fault, is_redacted = _fault_of(row, link, redactions)
            broken = broken or fault
            checked, redacted = checked + 1, redacted + is_redacted
            link = ChainHead(row["number"], row["hash"])
        broken = broken or _fault_of_anchors(home, expected) or _fault_of_triggers()
        return ChainReport(AuditEntry.objects.count(), checked, redacted, head, broken)


def _sealed_rows(until: int) -> Iterator[dict[str, Any]]:
    rows = _with_texts(AuditEntry.objects.filter(number__lte=until)).order_by("number")
    return iter(
        rows.values("number", "digest", "hash", "salt", "redaction_id", *_CONTENT).iterator(chunk_size=2_000)
    )


def _redactions() -> dict[int, dict[str, str]]:
    """Read the digests of what erasures left of entries, by the redaction's key and the entry's."""
    redactions = AuditEntry.objects.filter(action=REDACT).values_list("pk", "after")
    return {pk: (after or {}).get("entries", {}) for pk, after in redactions if isinstance(after, dict)}


def _fault_of(
    row: Mapping[str, Any], link: ChainHead, redactions: Mapping[int, Mapping[str, str]]
) -> tuple[str, bool]:
    """Return what is wrong with an entry that follows `link`, and whether something was taken out of it."""
    number, name = row["number"], f"entry {row['number']} ({row['action']}, id {row['pk']})"
    if number != link.number + 1:
        return f"entry {link.number + 1} is missing: the next one is {name}", False
    if row["hash"] != hash_of_link(link.hash, number, row["digest"]):
        return f"{name} does not follow from the one before", False
    digest = digest_of_content(row["salt"], _content(row))
    if digest == row["digest"]:
        return "", row["redaction_id"] is not None
    if redactions.get(row["redaction_id"], {}).get(str(row["pk"])) == digest:
        return "", True
    return f"{name} is not what was sealed", False


def _fault_of_anchors(home: Path, expected: ChainHead | None) -> str:
    try:
        anchor = read_anchor(home)
    except (ValueError, KeyError):
        return f"{anchor_path(home)} cannot be read, so nothing tells whether the end of the trail is there"
    for where, head in (("this home", anchor), ("you", expected)):
        if head is not None and not _is_in_chain(head):
            return f"entry {head.number}, the newest that {where} knew, is missing or has another hash"
    return ""


def _fault_of_triggers() -> str:
    """Return which of the triggers is missing or disabled that keep the trail from being changed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'accounts_auditentry'::regclass AND tgenabled IN ('O', 'A')"
        )
        enabled = {name for (name,) in cursor.fetchall()}
    missing = [name for name in TRIGGERS if name not in enabled]
    return f"the trigger {missing[0]} is missing or disabled" if missing else ""
