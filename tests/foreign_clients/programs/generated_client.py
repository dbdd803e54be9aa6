"""Talks to Driftline through a client that openapi-python-client has generated of openapi.json.

    python generated_client.py FOLDER_OF_THE_CLIENT URL TOKEN log|read

Prints what was answered as JSON: of `log` what became of a prediction, of `read` a metric's points, and a refusal.
"""

import json
import sys

folder, url, token, action = sys.argv[1:]
sys.path.insert(0, folder)

from generated import AuthenticatedClient  # noqa: E402
from generated.api.log import receive_predictions  # noqa: E402
from generated.api.monitoring import read_metrics  # noqa: E402
from generated.models import PagePointOut, ProblemOut, ReceivePredictionsJsonBody  # noqa: E402

client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)

if action == "log":
    sent = {
        "id": "first",
        "timestamp": "2026-01-05T12:00:00Z",
        "version": "1",
        "features": {"income": 3.5},
        "prediction": "1",
        "probabilities": 0.8,
    }
    body = ReceivePredictionsJsonBody.from_dict({"predictions": [sent]})
    batch = receive_predictions.sync("approvals", client=client, body=body)
    print(json.dumps({"accepted": batch.accepted, "results": [result.id for result in batch.results]}))
else:
    period = {"from_": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}
    page = read_metrics.sync("approvals", client=client, metric="count", **period)
    problem = read_metrics.sync("approvals", client=client, metric="counts", **period)
    assert isinstance(page, PagePointOut)
    assert isinstance(problem, ProblemOut)
    points = [[point.start.isoformat(), point.value, point.n] for point in page.items]
    print(json.dumps({"points": points, "refused": [problem.code, problem.errors[0].pointer]}))
