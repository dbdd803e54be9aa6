"""A model of a Driftline project, as an application sees it."""

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

import httpx

from driftline_client.credentials import access
from driftline_client.errors import DriftlineError, NotQueued
from driftline_client.files import Destination
from driftline_client.frame_log import (
    FrameResult,
    LabelColumns,
    PredictionColumns,
    Progress,
    Sending,
    log_labels,
    log_predictions,
)
from driftline_client.frames import Tabular
from driftline_client.ids import new_id
from driftline_client.inference import About, Prediction, Questions, Row, read_answer
from driftline_client.items import encode, label_item, prediction_item
from driftline_client.previews import confirm_file, preview_file
from driftline_client.references import Reference, upload_reference
from driftline_client.sending.delivery import Counts, Delivery, Sender, queue_opener
from driftline_client.sending.forks import call_after_fork
from driftline_client.sending.transport import Backoff, ClientFactory, Courier, Stream, ask

logger = logging.getLogger("driftline_client")

PATIENCE_SECONDS = 60.0


def model(
    name: str,
    url: str | None = None,
    token: str | None = None,
    version: str | None = None,
    *,
    task: str | None = None,
    columns: Sequence[str] | None = None,
    strict: bool = False,
    delivery: Delivery = Delivery(),  # noqa: B008  frozen
) -> "ModelHandle":
    """Open a model by name; address and token default to DRIFTLINE_URL and DRIFTLINE_TOKEN, else to a stored login.

    `version` names the version that made the logged predictions, and the one to ask; without it the champion
    answers. With `task` (`binary`, `multiclass`, `regression` or `ranking`) the first items make the model where
    there is none, for which the token needs the scope `write`. `columns` names the columns of a model that takes
    one tensor. With `strict`, logging raises DriftlineError where it would otherwise warn and count.
    """
    client = ClientFactory(*access(url, token), delivery.timeout_s)
    return ModelHandle(name, client, version, task, columns, strict, delivery)


class ModelHandle:
    """Logs, labels and asks for one model; safe to share between threads. Use it as long as the process lives."""

    def __init__(
        self,
        name: str,
        client: ClientFactory,
        version: str | None,
        task: str | None,
        columns: Sequence[str] | None,
        strict: bool,
        delivery: Delivery,
    ) -> None:
        self.name = name
        self.version = version
        self._task = task
        self.new_client = client
        self._strict = strict
        self._exit_s = delivery.exit_s
        self._sender = Sender(self._open_courier, queue_opener(delivery, client.url, name), delivery)
        call_after_fork(self._forget_connection)
        path = f"/api/v1/models/{quote(name, safe='')}"
        self._predictions = Stream(f"{path}/predictions", "predictions")
        self._labels = Stream(f"{path}/labels", "labels")
        self._reference_path = f"{path}/reference"
        self._path = path
        self._backoff = partial(Backoff, delivery.first_retry_s, delivery.longest_retry_s)
        self.questions = Questions.of(name, version, columns)
        self._metadata: dict[str, Any] | None = None

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
                tags=tags,
            )
            self._sender.put(self._predictions, encode(item))
        except DriftlineError as error:
            self._not_sent(error)
        return prediction_id

    def label(self, id: str, label: Any, timestamp: datetime | None = None) -> None:
        """Queue what really happened for the prediction `id`; before or after it, and again to correct."""
        try:
            item = label_item(id=id, label=label, timestamp=timestamp)
            self._sender.put(self._labels, encode(item))
        except DriftlineError as error:
            self._not_sent(error)

    def log_frame(
        self,
        frame: Any,
        *,
        progress: Progress | None = None,
        patience_s: float = PATIENCE_SECONDS,
        **columns: Unpack[PredictionColumns],
    ) -> FrameResult:
        """Log each row of a pandas or polars frame, or of anything that exports Arrow data, and wait for the answers.

        `columns` say which column is what (PredictionColumns). `progress(done, total)` is called after each
        request. Raises FrameInterrupted when Driftline refuses a request, or takes none for `patience_s`.
        """
        with self._open_courier() as courier:
            sending = Sending(courier, self._predictions, self._backoff, patience_s, progress)
            return log_predictions(frame, columns, sending, self.version)

    def label_frame(
        self,
        frame: Any,
        *,
        progress: Progress | None = None,
        patience_s: float = PATIENCE_SECONDS,
        **columns: Unpack[LabelColumns],
    ) -> FrameResult:
        """Send what really happened for each row of a frame, as `log_frame` does; `columns` are LabelColumns."""
        with self._open_courier() as courier:
            sending = Sending(courier, self._labels, self._backoff, patience_s, progress)
            return log_labels(frame, columns, sending)

    def reference(
        self, source: Any, *, version: str | None = None, wait_s: float = 0.0, positive_class: str = ""
    ) -> Reference:
        """Upload the data that a version was trained on, by the path of a CSV or Parquet file or as a frame.

        Columns are the features, and optionally id, timestamp, label, prediction, probability or
        probability_<class>; `positive_class` is the class that `probability` is of. Driftline then makes a reference of
        it, for which `wait_s` waits. The token needs the scope `write`, and `read` to wait.
        """
        with self.new_client() as client:
            to = Destination(self._reference_path, self.name, self._task, version or self.version)
            return upload_reference(client, to, source, wait_s, positive_class)

    def send_file(
        self,
        path: str | os.PathLike[str],
        kind: str,
        *,
        columns: Mapping[str, str] | None = None,
        version: str | None = None,
        **choice: Any,
    ) -> dict[str, Any]:
        """Send a CSV of any delimiter and encoding, or Parquet, of a `reference`, `predictions` or `labels`.

        `columns` maps columns to what they are ({"approved": "label", "row": "ignored"}); the others are guessed.
        `choice` may hold `time_zone`, `date_order`, `format`, `positive_class`, `replace` and `force`. Raises
        DriftlineError; else returns the reference that is built, or the import that was started.
        """
        with self.new_client() as client:
            to = Destination(self._path, self.name, self._task, None)
            shown = preview_file(client, path, to)
            body = {
                "kind": kind,
                "columns": dict(columns or {}),
                "version": version or self.version or "",
                **choice,
            }
            return confirm_file(client, to, shown, body)

    def predict(self, features: Row | Sequence[Row] | Tabular, **about: Unpack[About]) -> Prediction:
        """Ask the model for one row, a list of rows, or a frame of pandas, polars or Arrow; raises DriftlineError.

        A row is {feature: value}, or a list of values in the order of the features. A frame's columns are taken by
        name, and those that are no features are left out. `about` is what else is logged
        (About), such as your own `id`: the same request sent again with it is logged once.
        """
        if self._metadata is None:
            self._metadata = ask(self._client, "GET", self.questions.path).json()
        body = self.questions.body(self._metadata, features, about)
        return read_answer(ask(self._client, "POST", f"{self.questions.path}/infer", json=body))

    def counts(self) -> Counts:
        """Return how many items were sent, rejected, dropped and why, and are still queued."""
        return self._sender.counts()

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is queued now; True when the server answered for all of it within `timeout` seconds."""
        return self._sender.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush and stop; at the end of the process this happens by itself."""
        flushed = self._sender.close(self._exit_s if timeout is None else timeout)
        if "_client" in self.__dict__:
            self._client.close()
            del self._client
        return flushed

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
        return self.new_client()

    def _open_courier(self) -> Courier:
        return Courier(self.new_client(), self.name, self._task)

    def _forget_connection(self) -> None:
        """Leave the connection to the parent: two processes must not share it."""
        self.__dict__.pop("_client", None)

    def _not_sent(self, error: DriftlineError) -> None:
        """Count what cannot be sent; an application must not fail because its log does."""
        dropped = self._sender.drop(error.reason if isinstance(error, NotQueued) else "not_sendable")
        if self._strict:
            raise error
        if dropped & (dropped - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a full queue would fill the log too
            logger.warning("Not sent to Driftline (%d so far): %s", dropped, error)
