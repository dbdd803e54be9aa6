"""Jobs of asynchronous inference."""

import time

from driftline.base.ids import new_id
from inference.serving.jobs.store import (
    Job,
)
from inference.serving.plan import PlanCallback


def a_job(project_id: int = 1, callback: PlanCallback | None = None) -> Job:
    now = time.time()
    return Job(
        id=new_id(),
        project_id=project_id,
        model_id=1,
        model="sums",
        version="1",
        role="champion",
        prediction_id="p",
        accepted_at=now,
        deadline_at=now + 60,
        path="/v2/models/sums/infer",
        headers={},
        callback=callback,
    )
