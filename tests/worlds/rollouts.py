"""A run that passed its gate: its challenger is to take over, by shares or at once, with made-up traffic."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
from django.db.models import F
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.ids import new_id, row_ids
from driftline.base.periods import floor, rfc3339
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.deployments import set_shadows
from inference.registry.models import Autonomy, Deployment, Model, UnpublishedChange, Version
from monitors.workflows.engine import advance
from monitors.workflows.models import Rollout, Run, Step
from monitors.workflows.services import configure_workflow
from monitors.workflows.starting.starts import start_run
from tests.inference.onnx_models import classifier_signature
from tests.worlds.approvals import DAY, count_requests, label, log, make_model, rows_of_a_day, truths

STAGED: dict[str, Any] = {
    "steps": [
        {"weight": 0.05, "seconds": 600, "rows": 200},
        {"weight": 0.5, "seconds": 600, "rows": 200},
    ],
    "watch_seconds": 3_600,
}
SHADOW_DAY = DAY - timedelta(days=1)


@dataclass
class RolloutWorld:
    """Sends requests of which the challenger answers its share, and lets time pass."""

    model: Model
    run: Run
    sent: int = 0

    def advance(self) -> Run:
        """Take the run as far as it can go now, and publish what it changed, which the test's transaction delays."""
        advance(run_id=self.run.pk)
        UnpublishedChange.objects.all().delete()
        self.run.refresh_from_db()
        return self.run

    def check(self) -> Run:
        """Have the guards look, whenever they last did."""
        Rollout.objects.filter(run=self.run).update(next_check_at=F("since") - timedelta(seconds=1))
        return self.advance()

    def let_pass(self, seconds: float) -> None:
        """Move the moment at which the weight was set into the past."""
        for rollout in Rollout.objects.filter(run=self.run):
            rollout.since -= timedelta(seconds=seconds)
            rollout.save(update_fields=["since"])

    @property
    def rollout(self) -> Rollout:
        return Rollout.objects.get(run=self.run)

    @property
    def deployment(self) -> Deployment:
        return Deployment.objects.select_related("champion", "canary", "previous").get(model=self.model)

    def guard(self, name: str) -> dict[str, Any]:
        """Return what a guard found at the newest check."""
        return next(one for one in self.rollout.checks[-1]["guards"] if one["guard"] == name)

    def send(
        self,
        champion: int,
        canary: int,
        *,
        failed: int = 0,
        champion_failed: int = 0,
        labelled: bool = False,
        wrong: float = 0.0,
        **changed: Any,
    ) -> None:
        """Let both sides answer requests of the next hour of event time, of which some fail.

        `changed` are fields of the canary's rows, of which a share is answered the `wrong` way round; those that fail
        are not logged.
        """
        rows = rows_of_a_day(DAY, champion + canary, seed=self.sent)
        self.sent += 1
        moment = DAY + timedelta(hours=self.sent)
        rows = [
            msgspec.structs.replace(
                row, id=f"r{self.sent}-{number}", timestamp=rfc3339(moment + timedelta(milliseconds=number)),
            )
            for number, row in enumerate(np.random.default_rng(self.sent).permutation(np.array(rows, object)))
        ]  # fmt: skip
        log(self.model, rows[:champion])
        answers = [
            msgspec.structs.replace(row, version="2", role="canary", **changed) for row in rows[champion:]
        ]
        log(self.model, _wrong(answers[failed:], wrong, self.sent) if wrong else answers[failed:])
        if labelled:
            label(self.model, truths(rows, seed=self.sent))
        hour = floor(timezone.now(), "hour")
        count_requests(self.model, hour, answered=champion - champion_failed, late=champion_failed)
        count_requests(self.model, hour, role="canary", answered=canary - failed, late=failed)

    def send_request(self, *, rows: int, **changed: Any) -> None:
        """Let the challenger answer one request of many rows, as serving logs it."""
        self.sent += 1
        sent = rows_of_a_day(DAY, rows, seed=self.sent)
        moment = rfc3339(DAY + timedelta(hours=self.sent))
        log(
            self.model,
            [
                msgspec.structs.replace(row, id=id_, timestamp=moment, version="2", role="canary", **changed)
                for row, id_ in zip(sent, row_ids(new_id(), rows, 0, rows), strict=True)
            ],
        )
        count_requests(self.model, floor(timezone.now(), "hour"), role="canary", answered=1)

    def send_pairs(self, rows: int, *, old_is_wrong: float = 0.0, new_is_wrong: float = 0.0) -> None:
        """Let the champion answer labelled requests of the next day, with the old champion as its shadow.

        A version that is wrong gives the opposite probability in that share of the requests.
        """
        self.sent += 1
        made = rows_of_a_day(DAY + timedelta(days=self.sent), rows, seed=self.sent)
        log(self.model, _wrong(made, new_is_wrong, self.sent, version="2"))
        log(self.model, _wrong(made, old_is_wrong, -self.sent, version="1", role="shadow"))
        label(self.model, truths(made, seed=self.sent))


def _wrong(rows: list[SentPrediction], share: float, seed: int, **changed: Any) -> list[SentPrediction]:
    """Answer a share of the rows the wrong way round, the others with a little noise."""
    rng = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    made = []
    for row in rows:
        assert isinstance(row.probabilities, float)
        logit = np.log(row.probabilities / (1 - row.probabilities)) + rng.normal(0, 0.2)
        probability = float(1 / (1 + np.exp(logit if rng.random() < share else -logit)))
        answer = "1" if probability >= 0.5 else "0"
        made.append(msgspec.structs.replace(row, probabilities=probability, prediction=answer, **changed))
    return made


def run_after_gate(
    project: Project, *, plan: dict[str, Any] | None = None, autonomy: str = Autonomy.AUTO
) -> RolloutWorld:
    """Store a model with a run that has passed its gate, with a day of pairs in the shadow."""
    model = make_model(project)
    model.autonomy = autonomy
    model.save()
    signature = msgspec.to_builtins(classifier_signature(2))
    signature |= {"features": [{"name": "income", "type": "float"}, {"name": "region", "type": "string"}]}
    champion, _ = (
        Version.objects.create(model=model, version=name, sha256=name * 64, signature=signature)
        for name in ("1", "2")
    )
    Deployment.objects.filter(model=model).update(champion=champion)
    configure_workflow(
        model=model, actor="ada", pairs=500, max_pairs=2_000, rollout=STAGED if plan is None else plan
    )
    set_shadows(model=model, versions=["2"], expected_generation=None, actor="ada")
    rows = rows_of_a_day(SHADOW_DAY, 400)
    log(model, rows)
    log(model, [msgspec.structs.replace(row, version="2", role="shadow") for row in rows])
    model.refresh_from_db()
    run = start_run(model=model, trigger="ada", actor="ada", version="2")
    run.steps.filter(name="shadow").update(state=Step.State.DONE, evidence={"since": rfc3339(SHADOW_DAY)})
    run.steps.filter(name="gate").update(state=Step.State.DONE)
    return RolloutWorld(model, run)
