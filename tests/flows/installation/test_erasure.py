"""A person is erased from an installation that serves: from a live process's spool, from the log and from jobs."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from driftline.base.periods import rfc3339
from driftline.demo.api_client import Api
from tests.flows.canary import places_of
from tests.flows.installation.clients import infer_body
from tests.flows.installation.conftest import Tell
from tests.flows.installation.running import DRAIN, FEATURES, Installation, make_model
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

MODEL = "forgetful"
CANARY = "canary-4711@example.com"
ROW = [0.5, 1.0, -1.0, 0.0]


def infer(api: Api, subject: str, *, model: str = MODEL, key: str = "request", **headers: str) -> None:
    body = infer_body(ROW, id=f"{subject}/{key}", driftline_subject=subject)
    api.call("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json", **headers})


def logged(key: str, subject: str) -> dict[str, Any]:
    return {
        "id": f"{subject}-{key}",
        "timestamp": rfc3339(datetime.now(UTC)),
        "version": "1",
        "features": dict.fromkeys(FEATURES, 0.25),
        "prediction": "1",
        "probabilities": 0.8,
        "subject": subject,
        "tags": {"mail": subject},
    }


def places(installation: Installation) -> set[str]:
    """Where the canary is; the database is asked, for its own files are not ours to judge."""
    return places_of(CANARY, installation.home, query=installation.query, without="postgres")


def test_a_person_is_erased_while_others_are_served(installation: Installation, tell: Tell) -> None:
    with closing(installation.api()) as api:
        model_id = make_model(installation, MODEL)
        before: set[str] = set()
        for subject in (CANARY, "somebody else"):
            infer(api, subject)
            # Before the drain has stored the row, after which its segment may go at any time.
            before |= places(installation)
            infer(api, subject, Prefer="respond-async, wait=10")
            api.post(f"/api/v1/models/{MODEL}/predictions", {"predictions": [logged("a", subject)]})
            api.post(f"/api/v1/models/{MODEL}/labels", {"labels": [{"id": f"{subject}-a", "label": "1"}]})
        wait_until(lambda: len(installation.stored(model_id)) == 6, what="the drain")
        before |= places(installation)

        receipt = api.call("DELETE", f"/api/v1/subjects/{quote(CANARY)}")
        erasure = wait_until(
            lambda: (told := api.get(f"/api/v1/erasures/{receipt['id']}"))["state"] == "done" and told,
            what="the erasure",
        )
        after = places(installation)
        infer(api, "somebody else")
        stored = wait_until(
            lambda: len(found := installation.stored(model_id)) == 4 and found, what="the next prediction"
        )

    tell(f"{sorted(before)}")
    tell(f"the canary was in {len(before)} places, then in {len(after)}; erased {erasure['counts']}")
    assert {place.split("/")[0] for place in before if "/" in place} >= {"spool"}
    assert {place.split(".")[0].rstrip("0123456789") for place in before} >= {
        "inference_predictionchunk_fresh",
        "inference_label",
    }
    assert after == set()
    assert erasure["counts"]["predictions"] == 3
    assert erasure["counts"]["labels"] == 1
    assert len(stored) == 4
    tell(installation.check_invariants())


def test_a_backup_beside_an_erasure_is_made_and_the_person_is_erased_where_it_is_restored(
    installation: Installation, tmp_path: Path
) -> None:
    subject, restored = "beside-a-backup@example.com", Installation(tmp_path / "restored", free_port())
    with closing(installation.api()) as api:
        model_id = make_model(installation, "backed-up")
        infer(api, subject, model="backed-up")
        wait_until(lambda: len(installation.stored(model_id)) == 1, what="the drain")
        with installation.stalled(DRAIN):  # an erasure waits for what it has not stored
            infer(api, subject, model="backed-up", key="later")
            receipt = api.call("DELETE", f"/api/v1/subjects/{quote(subject)}")["id"]
            wait_until(lambda: api.get(f"/api/v1/erasures/{receipt}")["state"] == "waiting")

            made = installation.manage("backup", str(tmp_path / "backup"))

        assert made.returncode == 0, made.stderr
        wait_until(lambda: api.get(f"/api/v1/erasures/{receipt}")["state"] == "done", what="the erasure")

    assert restored.manage("restore", str(tmp_path / "backup")).returncode == 0
    assert places_of(subject, restored.home, query=lambda _: [], without="postgres")
    restored.start()
    try:
        with closing(restored.api()) as api:
            wait_until(
                lambda: api.get(f"/api/v1/erasures/{receipt}")["state"] == "done", what="the erasure there"
            )
        assert places_of(subject, restored.home, query=restored.query, without="postgres") == set()
        assert restored.stored(model_id) == {}
    finally:
        restored.end()
