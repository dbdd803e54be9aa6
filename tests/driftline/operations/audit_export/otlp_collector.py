"""A collector on loopback that reads OTLP with the classes of its specification."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.loopback import LoopbackHandler, LoopbackServer


class OtlpCollector(LoopbackServer):
    """Keeps what was posted; `answers` are the statuses of the next ones, and each after them is 200.

    It takes no entry of the numbers `rejects`, and says so of the one (200) or refuses the whole batch (400, 413).
    """

    def __init__(
        self,
        *answers: int,
        rejects: Iterable[int] = (),
        rejects_by: int = 200,
        content: bytes | None = None,
        **options: Any,
    ) -> None:
        self.rejects, self._rejects_by = set(rejects), rejects_by
        self.batches: list[list[int]] = []
        self.records: list[LogRecord] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self._answers, self._content = list(answers), content
        collector = self

        class Collect(LoopbackHandler):
            def do_POST(self) -> None:
                collector._take(self)

        super().__init__(Collect, **options)

    @property
    def numbers(self) -> list[int]:
        return [_number_of(record) for record in self.records]

    def _take(self, handler: LoopbackHandler) -> None:
        assert handler.path == "/v1/logs"
        body, status = handler.read_body(), self._answers.pop(0) if self._answers else 200
        self.headers.append(handler.read_headers())
        request = ExportLogsServiceRequest.FromString(body)
        self.batches.append([_number_of(record) for record in _records_of(request)])
        rejected = self.rejects.intersection(self.batches[-1])
        status = self._rejects_by if rejected else status
        if status == 200:
            for logs in request.resource_logs:
                self.resources.append({one.key: one.value.string_value for one in logs.resource.attributes})
            self.records += [
                record for record in _records_of(request) if _number_of(record) not in self.rejects
            ]
        partial = ExportLogsPartialSuccess(rejected_log_records=len(rejected), error_message="too long")
        answer = ExportLogsServiceResponse(partial_success=partial if rejected else None)
        content = answer.SerializeToString() if self._content is None else self._content
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-protobuf")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


def _records_of(request: ExportLogsServiceRequest) -> list[LogRecord]:
    return [
        record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records
    ]


def _number_of(record: LogRecord) -> int:
    return int(attributes_of(record)["driftline.audit.number"])


def attributes_of(record: LogRecord) -> dict[str, Any]:
    """Return the attributes of a record by name."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in record.attributes}
