"""GitHub Actions, by `repository_dispatch`: the order is the event's `client_payload`.

GitHub names no run in its answer, so nothing can be asked or ended; a start that is repeated starts twice, and the
artifact that comes first counts.
"""

from urllib.parse import quote

import orjson

from driftline.base.outbound.json_calls import bearer, call
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.base import Option, Orchestrator, Order, Pipeline

VERSION = "2022-11-28"
MAX_PAYLOAD = 65_535  # bytes


class GitHub(Orchestrator):
    title = "GitHub Actions"
    url = "the address of the API: https://api.github.com, or that of your own server"
    secret = "a token that may write the repository's contents"
    options = (
        Option("repository", "Repository", "owner/name"),
        Option("event_type", "Type of the event", "driftline-train"),
    )

    starts_once = False

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        repository = pipeline.options["repository"]
        if repository.count("/") != 1 or ".." in repository:
            raise RequestFailed(f"{repository[:100]!r} is no repository; write owner/name.")
        if (size := len(orjson.dumps(order))) > MAX_PAYLOAD:
            raise RequestFailed(
                f"The order has {size:,} bytes, and GitHub takes {MAX_PAYLOAD:,} as client_payload; use a model with "
                "fewer features, or another kind of pipeline."
            )
        headers = {
            **bearer(pipeline.secret),
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": VERSION,
        }
        body = {"event_type": pipeline.options["event_type"], "client_payload": order}
        call("POST", f"{pipeline.url}/repos/{quote(repository)}/dispatches", body=body, headers=headers)
        return key
