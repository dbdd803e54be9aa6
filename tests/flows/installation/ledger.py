"""What clients keep of what was acknowledged, held against the log."""

from tests.flows.installation.clients import Asking, AskingWithKey, Load, Logging
from tests.flows.installation.running import (
    Installation,
)


def assert_ledger_holds(installation: Installation, model_id: int, load: Load) -> str:
    """Compare what was acknowledged to clients with what the log holds; return the counts as a sentence."""
    counted = load.ledger(Asking, AskingWithKey, Logging)
    acknowledged = set(counted.acknowledged)
    stored = installation.wait_until_stored(model_id, acknowledged)
    labels = dict(
        installation.query(
            "SELECT given_id, count(*) FROM inference_label WHERE model_id = %s AND is_current GROUP BY 1",
            [model_id],
        )
    )
    unkeyed = load.ledger(Asking)
    beyond = stored.keys() - acknowledged
    assert len(counted.acknowledged) == len(acknowledged), "an id was given twice"
    assert acknowledged - stored.keys() == set(), "an acknowledged prediction is missing"
    assert {id_ for id_, count in stored.items() if count != 1} == set(), "a prediction is doubled"
    assert len(beyond) <= unkeyed.unanswered, "a row that nobody asked for"
    assert labels == dict.fromkeys(counted.labelled, 1)
    keyed, logged = load.ledger(AskingWithKey), load.ledger(Logging)
    return (
        f"{len(acknowledged):,} acknowledged ({len(keyed.acknowledged):,} with their own key, "
        f"{len(logged.acknowledged):,} logged), {counted.unanswered:,} unanswered, "
        f"{counted.turned_away:,} turned away; "
        f"{len(stored):,} rows: 0 missing, 0 doubled, {len(beyond):,} never acknowledged; "
        f"{len(labels):,} of {len(counted.labelled):,} labels"
    )


def everybody(installation: Installation, model: str) -> Load:
    return Load(
        installation,
        model,
        asking=Asking,
        asking_too=Asking,
        keyed=AskingWithKey,
        keyed_too=AskingWithKey,
        logging=Logging,
    )
