"""Everything of an installation is killed and stalled at random under load: nothing is lost, nothing counted twice."""

import os
import random
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from driftline.base.periods import rfc3339
from tests.flows.installation.chaos import KINDS, SEED, Chaos, draw_blows
from tests.flows.installation.clients import Asking, AskingWithKey, Load, Logging
from tests.flows.installation.conftest import Tell
from tests.flows.installation.ledger import assert_ledger_holds
from tests.flows.installation.running import Installation, make_model

pytestmark = [pytest.mark.installation, pytest.mark.e2e, pytest.mark.chaos]

SECONDS = float(os.environ.get("DRIFTLINE_TEST_CHAOS_SECONDS", "20"))
LONG = 45.0  # from this many seconds on a worker's leases are outlasted too


def test_random_kills_and_stalls_lose_nothing_and_count_nothing_twice(
    installation: Installation, tell: Tell
) -> None:
    model_id = make_model(installation, "chaos")
    rng = random.Random(SEED)
    blows = draw_blows(rng, seconds=SECONDS, outlast_leases=SECONDS >= LONG)
    chaos = Chaos(installation, rng)
    tell(f"chaos for {SECONDS:.0f} s, DRIFTLINE_TEST_CHAOS_SEED={SEED}")
    began = time.monotonic()

    with everybody(installation) as load:
        chaos.rage(blows)
        load.await_more(5)
    ended = time.monotonic()
    counts = assert_ledger_holds(installation, model_id, load)
    chaos.await_calm()

    stored = sum(installation.stored(model_id).values())
    hourly = hourly_count(installation, "chaos")
    tell(f"  killed {chaos.killed.total()}: {dict(chaos.killed)}; stalled {dict(chaos.stopped)}")
    tell(f"  {counts}")
    tell(
        f"  hourly metrics count {hourly:,}; calm {time.monotonic() - ended:.0f} s after the last request, "
        f"{ended - began:.0f} s of load; {installation.check_invariants()}"
    )
    assert hourly == stored
    assert set(chaos.stopped) == set(KINDS)


def everybody(installation: Installation) -> Load:
    """Eight clients: four that ask, four that log."""
    return Load(
        installation,
        "chaos",
        asking=Asking,
        asking_too=Asking,
        keyed=AskingWithKey,
        keyed_too=AskingWithKey,
        logging=Logging,
        logging_too=Logging,
        logging_also=Logging,
        logging_as_well=Logging,
    )


def hourly_count(installation: Installation, model: str) -> int:
    """Add up what the metric `count` says of each hour."""
    now = datetime.now(UTC)
    query = {
        "metric": "count",
        "step": "hour",
        "from": rfc3339(now - timedelta(hours=6)),
        "to": rfc3339(now + timedelta(hours=1)),
    }
    with closing(installation.api()) as api:
        points = api.get(f"/api/v1/models/{model}/metrics?{urlencode(query)}")["items"]
    return round(sum(point["value"] for point in points))
