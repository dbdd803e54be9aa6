"""A model of a Driftline project, as an application sees it."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from driftline_client.delivery import ClientFactory, Counts, Delivery, Sender, problem
from driftline_client.errors import DriftlineError
from driftline_client.inference import Prediction, Row, read_answer, request_body
from driftline_client.items import label_item, new_id, prediction_item, rfc3339

logger = logging.getLogger("driftline_client")

DEFAULT_URL = "http://127.0.0.1:8000"


def model(
    name: str,
    url: str | None = None,
    token: str | None = None,
    version: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    strict: bool = False,
    delivery: Delivery = Delivery(),  # noqa: B008  frozen
) -> "ModelHandle":
    """Open a model by name; address and token default to DRIFTLINE_URL and DRIFTLINE_TOKEN.

    `version` names the version that made the logged predictions, and the one to ask; without it the champion
    answers. `columns` names the columns of a model that takes one tensor. With `strict`, logging raises
    DriftlineError where it would otherwise warn and count.
    """
    token = token or os.environ.get("DRIFTLINE_TOKEN")
    if not token:
        raise DriftlineError("There is no token; set DRIFTLINE_TOKEN or give token=... to model().")
    url = url or os.environ.get("DRIFTLINE_URL") or DEFAULT_URL
    return ModelHandle(
        name, ClientFactory(url, token, delivery.timeout_s), version, columns, strict, delivery
    )


class ModelHandle:
    """Logs, labels and asks for one model; safe to share between threads. Use it as long as the process lives."""

    def __init__(
        self,
        name: str,
        client: ClientFactory,
        version: str | None,
        columns: Sequence[str] | None,
        strict: bool,
        delivery: Delivery,
    ) -> None:
        self.name = name
        self.version = version
        self._new_client = client
        self._columns = columns
        self._strict = strict
        self._exit_s = delivery.exit_s
        self._sender = Sender(client, delivery)
        os.register_at_fork(after_in_child=self._forget_connection)
        self._log_path = f"/api/v1/models/{quote(name, safe='')}"
        self._infer_path = f"/v2/models/{quote(name, safe='')}"
        if version is not None:
            self._infer_path += f"/versions/{quote(version, safe='')}"

    def log(
        self,
        *,
        features: Mapping[str, Any],
        prediction: Any,
        probabilities: Mapping[Any, float] | float | None = None,
        id: str | None = None,
        timestamp: datetime | None = None,
        version: str | None = None,
        latency_ms: float | None = None,
        role: str | None = None,
        subject: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Queue a prediction that another server made, and return its id, by which its label finds it.

        `prediction` is the class or the number; `probabilities` is {class: p} or, for two classes, p of the
        positive one. NaN is sent as missing. `timestamp` is the event's time, with a zone; now by default.
        """
        prediction_id = id or new_id()
        try:
            item = prediction_item(
                id=prediction_id,
                timestamp=timestamp,
                version=version or self.version,
                features=features,
                prediction=prediction,
                probabilities=probabilities,
                latency_ms=latency_ms,
                role=role,
                subject=subject,
                tags=None if tags is None else dict(tags),
            )
            self._sender.put(f"{self._log_path}/predictions", "predictions", item)
        except DriftlineError as error:
            self._not_sent(error)
        return prediction_id

    def label(self, id: str, label: Any, timestamp: datetime | None = None) -> None:
        """Queue what really happened for the prediction `id`; before or after it, and again to correct."""
        try:
            item = label_item(id=id, label=label, timestamp=timestamp)
            self._sender.put(f"{self._log_path}/labels", "labels", item)
        except DriftlineError as error:
            self._not_sent(error)

    def predict(
        self,
        features: Row | Sequence[Row],
        *,
        id: str | None = None,
        timestamp: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        subject: str | None = None,
    ) -> Prediction:
        """Ask the model for one row, or for a list of rows; raises DriftlineError.

        A row is {feature: value}, or a list of values in the order of the columns. `id` is your own key: the
        same request sent again with it is logged once.
        """
        rows = _as_rows(features)
        if not rows:
            raise DriftlineError("There are no rows to predict; give at least one.")
        body = request_body(self._metadata, rows, self._columns)
        body["parameters"] = {
            name: value
            for name, value in {
                "driftline_id": id,
                "driftline_timestamp": None if timestamp is None else rfc3339(timestamp),
                "driftline_tags": None if tags is None else json.dumps(dict(tags)),
                "driftline_subject": subject,
            }.items()
            if value is not None
        }
        response = self._call("POST", f"{self._infer_path}/infer", json=body)
        return read_answer(response.json(), response.headers.get("Driftline-Prediction-Id", ""))

    def counts(self) -> Counts:
        """Say how many items were sent, rejected, dropped, and are still queued."""
        return self._sender.counts()

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is queued now; True when the server answered for all of it within `timeout` seconds."""
        return self._sender.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush and stop; at the end of the process this happens by itself."""
        return self._sender.close(self._exit_s if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _client(self) -> httpx.Client:
        return self._new_client()

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self._call("GET", self._infer_path).json()
        return metadata

    def _forget_connection(self) -> None:
        """Leave the connection to the parent: two processes must not share it."""
        self.__dict__.pop("_client", None)

    def _call(self, method: str, path: str, **body: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **body)
        except httpx.TransportError as error:
            raise DriftlineError(f"Driftline does not answer ({type(error).__name__}: {error}).") from error
        if not response.is_success:
            raise DriftlineError(problem(response), response.status_code)
        return response

    def _not_sent(self, error: DriftlineError) -> None:
        """Count what cannot be sent; an application must not fail because its log does."""
        dropped = self._sender.drop()
        if self._strict:
            raise error
        if dropped & (dropped - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a full queue would fill the log too
            logger.warning("Not sent to Driftline (%d so far): %s", dropped, error)


def _as_rows(features: Any) -> list[Row]:
    """Tell a list of rows from one row."""
    if isinstance(features, Mapping):
        return [features]
    rows = list(features)
    many = all(
        isinstance(row, Mapping) or (hasattr(row, "__len__") and not isinstance(row, str)) for row in rows
    )
    return rows if many else [rows]
