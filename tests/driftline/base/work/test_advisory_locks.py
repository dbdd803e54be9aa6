"""Advisory locks: who has one keeps others out, for as long as said."""

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from driftline.base.work.advisory_locks import AdvisoryLock, lock, session_lock, try_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other_process() -> Iterator[CursorWrapper]:
    other = connection.copy()
    with other.cursor() as cursor:
        yield cursor
    other.close()


def is_free(cursor: CursorWrapper, key: str) -> bool:
    cursor.execute(f"SELECT pg_try_advisory_xact_lock({key})")
    return bool(cursor.fetchone()[0])


def lose_the_session(cursor: CursorWrapper) -> None:
    with session_lock(AdvisoryLock.IMPORT, 5):
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [connection.connection.info.backend_pid])
        raise RuntimeError("what broke it")


def test_a_lock_is_held_until_the_transaction_ends(other_process: CursorWrapper) -> None:
    with transaction.atomic():
        lock(AdvisoryLock.RULES, 5)
        lock(AdvisoryLock.PARTITIONS)

        assert not is_free(other_process, "7304, 5")
        assert not is_free(other_process, "7305")
        assert is_free(other_process, "7304, 6")

    assert is_free(other_process, "7304, 5")


def test_sharers_keep_out_who_wants_it_alone(other_process: CursorWrapper) -> None:
    with transaction.atomic():
        lock(AdvisoryLock.LABEL_JOIN, 5, shared=True)

        other_process.execute("SELECT pg_try_advisory_xact_lock_shared(7301, 5)")
        assert other_process.fetchone() == (True,)
        assert not is_free(other_process, "7301, 5")


def test_trying_for_a_lock_does_not_wait(other_process: CursorWrapper) -> None:
    other_process.execute("SELECT pg_advisory_lock(7316, 5)")

    with transaction.atomic():
        assert not try_lock(AdvisoryLock.NULL_DRAWS, 5)
        assert try_lock(AdvisoryLock.NULL_DRAWS, 6)


def test_a_session_lock_outlives_transactions_and_ends_with_its_block(other_process: CursorWrapper) -> None:
    with session_lock(AdvisoryLock.IMPORT, 5) as is_held:
        with transaction.atomic():
            pass

        assert is_held
        assert not is_free(other_process, "7322, 5")

    assert is_free(other_process, "7322, 5")


def test_what_broke_a_block_is_raised_also_where_its_session_was_ended(other_process: CursorWrapper) -> None:
    with pytest.raises(RuntimeError, match="what broke it"):
        lose_the_session(other_process)

    connection.close()
    assert is_free(other_process, "7322, 5")


def test_a_block_without_the_session_lock_knows_it_and_does_not_free_it(
    other_process: CursorWrapper,
) -> None:
    other_process.execute("SELECT pg_advisory_lock(7322, 5)")

    with session_lock(AdvisoryLock.IMPORT, 5) as is_held:
        assert not is_held

    with transaction.atomic():
        assert not try_lock(AdvisoryLock.IMPORT, 5)
