"""Audit entries as OpenTelemetry logs: OTLP over HTTP, in Protocol Buffers. https://opentelemetry.io/docs/specs/otlp/"""

import json
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import (
    SEVERITY_NUMBER_INFO,
    LogRecord,
    ResourceLogs,
    ScopeLogs,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from driftline.operations.audit_export.receivers import NotReceived, Rejected, TlsFiles
from driftline.operations.audit_export.records import AuditRecord

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
MAX_ANSWER_BYTES = 64 * 1024
PROTOBUF = "application/x-protobuf"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REJECTIONS = (requests.codes.bad_request, requests.codes.request_entity_too_large)
_WHOLE_NUMBERS = ("id", "number", "token_id")


def build_request(records: Sequence[AuditRecord], *, observed_ns: int) -> ExportLogsServiceRequest:
    """Build what is posted: a log record for each entry, with its fields as attributes `driftline.audit.*`."""
    resource = Resource(
        attributes=[_attribute("service.name", "driftline"), _attribute("host.name", socket.gethostname())]
    )
    logs = [_log_record(record, observed_ns) for record in records]
    scope = ScopeLogs(scope=InstrumentationScope(name="driftline.audit"), log_records=logs)
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])])


def _log_record(record: AuditRecord, observed_ns: int) -> LogRecord:
    texts = {name: text for name, text in record.texts().items() if name != "at"} | {
        "changes": record.changes
    }
    return LogRecord(
        time_unix_nano=(record.at - _EPOCH) // timedelta(microseconds=1) * 1_000,
        observed_time_unix_nano=observed_ns,
        severity_number=SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        event_name=record.action,
        body=AnyValue(string_value=f"{record.actor} {record.action} {record.subject}"),
        attributes=[
            _attribute(f"driftline.audit.{name}", int(text) if name in _WHOLE_NUMBERS else text)
            for name, text in texts.items()
        ],
    )


def _attribute(name: str, value: str | int) -> KeyValue:
    stored = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=name, value=stored)


class OtlpReceiver:
    """A collector at an address without the path of its signal, such as https://collector.example.com:4318.

    `headers_file` has a line `Name: value` for each header, such as one with a secret; it is read for every batch.
    """

    def __init__(self, address: str, files: TlsFiles, *, headers_file: Path | None) -> None:
        self.address = address
        self._files, self._headers_file = files, headers_file

    def send(self, records: Sequence[AuditRecord]) -> None:
        """Send these, and return once the collector has accepted each; raises NotReceived."""
        body = build_request(records, observed_ns=time.time_ns()).SerializeToString()
        headers = self._headers()
        try:
            with requests.post(
                f"{self.address.rstrip('/')}/v1/logs",
                data=body,
                headers=headers,
                verify=self._files.authorities or True,
                cert=self._files.certificate,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = response.raw.read(MAX_ANSWER_BYTES, decode_content=True)
        except (OSError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise NotReceived(f"{self.address}: no answer ({type(error).__name__})") from error
        self._check(response.status_code, response.headers.get("Content-Type", ""), answer)

    def _headers(self) -> dict[str, str]:
        """Read the operator's headers; raises NotReceived, without what the file holds."""
        headers = {"Content-Type": PROTOBUF, "User-Agent": "Driftline"}
        if self._headers_file is None:
            return headers
        try:
            lines = self._headers_file.read_text(encoding="ascii").splitlines()
        except (OSError, ValueError) as error:
            raise NotReceived(f"{self._headers_file} cannot be read ({type(error).__name__})") from error
        for number, line in enumerate(lines, 1):
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not colon or not name.strip() or not value.strip():
                raise NotReceived(f"line {number} of {self._headers_file} is not of the form Name: value")
            headers[name.strip()] = value.strip()
        return headers

    def _check(self, status: int, content_type: str, answer: bytes) -> None:
        """Raise NotReceived unless every record was accepted."""
        if status in _REJECTIONS:
            raise Rejected(f"{self.address} answered {status}")
        if status != requests.codes.ok:
            raise NotReceived(f"{self.address} answered {status}")
        try:
            rejected, reason = _rejected(content_type, answer)
        except (DecodeError, ValueError, AttributeError) as error:
            raise NotReceived(f"{self.address} answered 200, but not as an OTLP collector does") from error
        if rejected:
            raise Rejected(f"{self.address} rejected {rejected} entries of a batch: {reason}")


def _rejected(content_type: str, answer: bytes) -> tuple[int, str]:
    """Return how many records a collector says that it did not take, and why."""
    if content_type.startswith("application/json"):
        partial = json.loads(answer or b"{}").get("partialSuccess") or {}
        return int(partial.get("rejectedLogRecords", 0)), str(partial.get("errorMessage", ""))
    response = ExportLogsServiceResponse.FromString(answer)
    return response.partial_success.rejected_log_records, response.partial_success.error_message
