# ruff: noqa: E501  one row, one line
"""The bad-input catalogue as data: one row, one test. Numbers are those of the catalogue in the reliability notes."""

import gzip
import zlib
from typing import Any, NamedTuple

import orjson

from tests.worlds.every_kind import DAY, NOW

JSON, LINES, CSV, FORM = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "multipart/form-data; boundary=x",
)
PREDICTIONS, LABELS = "/models/flights/predictions", "/models/flights/labels"
GOOD: dict[str, Any] = {
    "id": "new",
    "timestamp": NOW.isoformat(),
    "version": "1",
    "features": {"a": 1.5},
    "prediction": "1",
    "probabilities": 0.7,
}


class Bad(NamedTuple):
    """A request that is refused as a whole: nothing is written."""

    id: str
    method: str
    path: str
    body: bytes
    status: int
    code: str
    pointer: str | None = None
    headers: dict[str, str] = {}


class BadItem(NamedTuple):
    """One item that is refused although its request is not."""

    id: str
    changes: dict[str, Any]
    code: str
    pointer: str


def predictions(*items: Any) -> bytes:
    return orjson.dumps({"predictions": list(items)})


def raw(text: str) -> bytes:
    """Write a prediction by hand, for what no serializer writes."""
    return b'{"predictions":[{"id":"new",%s}]}' % text.encode()


def bomb(size: int) -> bytes:
    return gzip.compress(b" " * size)


def form(name: str, content: bytes, filename: str = "model.onnx") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n--x--\r\n"


def rule(**changes: Any) -> bytes:
    fields = {"model": "flights", "name": "n", "metric": "accuracy", "threshold": 0.5} | changes
    return orjson.dumps(fields)


CONDITION = {"metric": "accuracy", "operator": "below", "threshold": 0.5}


def conditioned(condition: Any) -> bytes:
    return orjson.dumps({"model": "flights", "name": "n", "condition": condition})


def report(**changes: Any) -> bytes:
    return orjson.dumps({"from": NOW - DAY, "to": NOW} | changes)


def channel(target: str) -> bytes:
    return orjson.dumps({"name": "hook", "kind": "webhook", "target": target})


def log(id_: str, body: bytes, status: int, code: str, pointer: str | None = None, **headers: str) -> Bad:
    return Bad(id_, "POST", PREDICTIONS, body, status, code, pointer, headers)


REQUESTS = [
    # A. what is logged
    log("1 empty body", b"", 400, "malformed_json"),
    log("1 null", b"null", 400, "malformed_json"),
    log("1 text", b'"x"', 400, "malformed_json"),
    log("1 empty list", b"[]", 422, "empty_batch"),
    log("1 no items", predictions(), 422, "empty_batch"),
    log("2 truncated", predictions(GOOD)[:-3], 400, "malformed_json"),
    log("2 trailing garbage", predictions(GOOD) + b"x", 400, "malformed_json"),
    log("2 control character", raw('"a":"\x01"'), 400, "malformed_json"),
    log("2 bad UTF-8", b'{"predictions":["\xff"]}', 400, "malformed_json"),
    log("2 UTF-16", predictions(GOOD).decode().encode("utf-16"), 400, "malformed_json"),
    log("2 byte order mark", b"\xef\xbb\xbf" + predictions(GOOD), 400, "malformed_json"),
    log("3 NaN", raw('"latency_ms":NaN'), 400, "malformed_json"),
    log("3 Infinity", raw('"latency_ms":-Infinity'), 400, "malformed_json"),
    log("3 1e999", raw('"latency_ms":1e999'), 400, "malformed_json"),
    log("5 100,000 lists deep", b"[" * 100_000, 400, "too_deep"),
    log("5 100,000 objects deep", b'{"a":' * 100_000, 400, "too_deep"),
    log("7 duplicate key", raw('"id":"other"'), 400, "duplicate_key"),
    log("7 duplicate feature", raw('"features":{"a":1,"a":2}'), 400, "duplicate_key"),
    log("7 duplicate key behind an escape", raw('"features":{"a":1,"\\u0061":2}'), 400, "duplicate_key"),
    log("9 body over the cap", b" " * ((32 << 20) + 1), 413, "body_too_large"),
    log("10 gzip bomb", bomb(40 << 20), 413, "body_too_large", content_encoding="gzip"),
    log("10 nested gzip", bomb(9), 415, "unsupported_encoding", content_encoding="gzip, gzip"),
    log("10 brotli", b"x", 415, "unsupported_encoding", content_encoding="br"),
    log("10 not gzip", b"x", 400, "malformed_encoding", content_encoding="gzip"),
    log("10 cut gzip", gzip.compress(b"{}")[:-4], 400, "malformed_encoding", content_encoding="gzip"),
    log("10 zlib called gzip", zlib.compress(b"{}"), 400, "malformed_encoding", content_encoding="gzip"),
    log("10 not zstd", b"x", 400, "malformed_encoding", content_encoding="zstd"),
    log("11 10,001 items", predictions(*[GOOD] * 10_001), 413, "batch_too_large"),
    log("11 100,000 brackets", b'{"predictions":[' + b"[]," * 100_000, 413, "batch_too_large"),
    log("18 sent_at is no time", predictions(GOOD)[:-1] + b',"sent_at":"now"}', 422, "invalid_timestamp", "/sent_at"),
    log("18 sent_at is a number", predictions(GOOD)[:-1] + b',"sent_at":1}', 422, "invalid_timestamp", "/sent_at"),
    log("26 text/plain", predictions(GOOD), 415, "unsupported_media_type", content_type="text/plain"),
    log("26 multipart", form("a", b""), 415, "unsupported_media_type", content_type=FORM),
    log("26 no type", predictions(GOOD), 415, "unsupported_media_type", content_type=""),
    Bad("27 PUT", "PUT", LABELS, b"{}", 405, "method_not_allowed"),
    Bad("32 1,001 keys of the request", "POST", PREDICTIONS, orjson.dumps({str(n): 1 for n in range(1_001)}), 422, "unknown_field"),
    log("unknown field of the request", b'{"rows":[]}', 422, "unknown_field", "/rows"),
    log("no list of items", b'{"predictions":{}}', 422, "missing_field", "/predictions"),
    log("20,001 lines", b"{}\n" * 20_001, 413, "batch_too_large", content_type=LINES),
    Bad("25 unknown model", "POST", "/models/none/predictions", predictions(GOOD), 404, "model_not_found"),
    Bad("25 NUL in the model's name", "POST", "/models/%00/predictions", predictions(GOOD), 404, "object_not_found"),
    Bad("27 DELETE", "DELETE", PREDICTIONS, b"", 405, "method_not_allowed"),
    Bad("atomic with a bad item", "POST", f"{PREDICTIONS}?atomic=true", predictions(GOOD, {}), 422, "batch_refused", "/predictions/1/id"),
    Bad("atomic is no flag", "POST", f"{PREDICTIONS}?atomic=perhaps", predictions(GOOD), 400, "invalid_parameter", "/atomic"),
    Bad("atomic labels with a bad item", "POST", f"{LABELS}?atomic=true", b'{"labels":[{"id":"p1"}]}', 422, "batch_refused", "/labels/0/label"),
    # C. uploads
    Bad("44 empty file", "POST", "/models/flights/versions", form("file", b""), 422, "not_onnx", "/file", {"content_type": FORM}),
    Bad("44 PNG", "POST", "/models/flights/versions", form("file", b"\x89PNG\r\n\x1a\n" + b"0" * 99), 422, "not_onnx", "/file", {"content_type": FORM}),
    Bad("45 pickle", "POST", "/models/flights/versions", form("file", b"\x80\x04\x95" + b"0" * 99), 415, "format_refused", "/file", {"content_type": FORM}),
    Bad("no file in the form", "POST", "/models/flights/versions", form("other", b""), 422, "missing_field", "/file", {"content_type": FORM}),
    Bad("no endpoint in the JSON", "POST", "/models/flights/versions", b"{}", 422, "missing_field", "/endpoint"),
    Bad("an endpoint of no protocol", "POST", "/models/flights/versions", {"endpoint": {"protocol": "v3", "url": "https://a.example", "model": "m"}}, 422, "invalid_parameter", "/endpoint/protocol"),
    Bad("a private endpoint", "POST", "/models/flights/versions", {"endpoint": {"protocol": "v2", "url": "http://10.0.0.1", "model": "m"}}, 422, "url_not_allowed", "/endpoint/url"),
    Bad("upload as text", "POST", "/models/flights/versions", b"{}", 415, "unsupported_media_type", None, {"content_type": "text/plain"}),
    Bad("a form without its boundary", "POST", "/models/flights/versions", b"x", 400, "malformed_multipart", None, {"content_type": "multipart/form-data"}),
    Bad("lineage is a list", "POST", "/models/flights/versions", form("file", b"x")[:-7] + form("lineage", b"[]"), 422, "invalid_parameter", "/lineage", {"content_type": FORM}),
    # D. rules, filters, names
    Bad("61 threshold is text", "POST", "/rules", rule(threshold="10"), 422, "invalid_parameter", "/threshold"),
    Bad("61 threshold is NaN", "POST", "/rules", rule()[:-1] + b',"min_rows":NaN}', 400, "malformed_json"),
    Bad("61 no windows", "POST", "/rules", rule(for_windows=0), 422, "invalid_parameter", "/for_windows"),
    Bad("fewer windows to choose from than are asked for", "POST", "/rules", rule(for_windows=3, of_windows=2), 422, "invalid_parameter", "/of_windows"),
    Bad("too many windows to choose from", "POST", "/rules", rule(of_windows=1_001), 422, "invalid_parameter", "/of_windows"),
    Bad("a recovery beyond the threshold", "POST", "/rules", rule(recovery_threshold=1e9), 422, "invalid_parameter", "/recovery_threshold"),
    Bad("a rule without a metric", "POST", "/rules", b'{"model":"flights","name":"n"}', 422, "missing_field", "/metric"),
    Bad("a metric beside a condition", "POST", "/rules", rule(condition=CONDITION), 422, "invalid_parameter", "/metric"),
    Bad("a condition on a missing metric", "POST", "/rules", conditioned({"all": [{"metric": "luck", "threshold": 1}]}), 422, "unknown_metric", "/condition/all/0/metric"),
    Bad("a condition with an unknown key", "POST", "/rules", conditioned(CONDITION | {"luck": 1}), 422, "unknown_field", "/condition/luck"),
    Bad("a condition with a boolean for a number", "POST", "/rules", conditioned(CONDITION | {"threshold": True}), 422, "invalid_parameter", "/condition/threshold"),
    Bad("a condition with NaN", "POST", "/rules", b'{"model":"flights","name":"n","condition":{"metric":"accuracy","threshold":NaN}}', 400, "malformed_json"),
    Bad("a condition that is text", "POST", "/rules", conditioned("psi > 0.2"), 422, "invalid_parameter", "/condition"),
    Bad("a condition of ten levels", "POST", "/rules", b'{"model":"flights","name":"n","condition":' + b'{"not":' * 10 + b"{}" + b"}" * 10 + b"}", 422, "too_deep", "/condition/not/not/not/not/not"),
    Bad("a condition of 10 KB of nesting", "POST", "/rules", b'{"model":"flights","name":"n","condition":' + b'{"not":' * 1_500 + b"{}" + b"}" * 1_500 + b"}", 400, "too_deep"),
    Bad("a back-test of an empty condition", "POST", "/rules/backtest", conditioned({"any": []}), 422, "invalid_parameter", "/condition/any"),
    Bad("a critical threshold within the threshold", "POST", "/rules", rule(critical_threshold=0.4), 422, "invalid_parameter", "/critical_threshold"),
    Bad("missing data that cheer", "POST", "/rules", rule(no_data="cheer"), 422, "invalid_parameter", "/no_data"),
    Bad("61 negative cooldown", "POST", "/rules", rule(cooldown=-1), 422, "invalid_parameter", "/cooldown"),
    Bad("61 endless cooldown", "POST", "/rules", rule(cooldown=1e300), 422, "invalid_parameter", "/cooldown"),
    Bad("61 span of a decade", "POST", "/rules", rule(span="decade"), 422, "invalid_parameter", "/span"),
    Bad("62 unknown metric", "POST", "/rules", rule(metric="luck"), 422, "unknown_metric", "/metric"),
    Bad("62 unknown model", "POST", "/rules", rule(model="none"), 404, "model_not_found"),
    Bad("62 a feature that the metric has not", "POST", "/rules", rule(feature="a"), 422, "invalid_parameter", "/feature"),
    Bad("65 name with a line break", "POST", "/rules", rule(name="a\r\nBcc: b"), 422, "invalid_text", "/name"),
    Bad("65 name with NUL", "POST", "/rules", rule(name="a\0"), 422, "invalid_text", "/name"),
    Bad("65 name of 1,000 characters", "POST", "/rules", rule(name="a" * 1_000), 422, "invalid_parameter", "/name"),
    Bad("routing without a route", "PUT", "/routing", b"{}", 422, "missing_field", "/route"),
    Bad("routing with an unknown key", "PUT", "/routing", b'{"route":{"to":[]}}', 422, "unknown_field", "/route/to"),
    Bad("routing to no channel", "PUT", "/routing", b'{"route":{"channels":["nobody"]}}', 422, "invalid_routing", "/route/channels/0"),
    Bad("routing by no matcher", "PUT", "/routing", b'{"route":{"routes":[{"matchers":["(("]}]}}', 422, "invalid_routing", "/route/routes/0/matchers/0"),
    Bad("routing that nests for ever", "PUT", "/routing", b'{"route":' + b'{"routes":[' * 60 + b"]}" * 60 + b"}", 400, "too_deep"),
    Bad("a test of routing without labels", "POST", "/routing/test", b"{}", 422, "missing_field", "/labels"),
    Bad("a test of routing with numbers", "POST", "/routing/test", b'{"labels":{"a":1}}', 422, "invalid_parameter", "/labels/a"),
    Bad("68 silence that ends first", "POST", "/silences", orjson.dumps({"model": "flights", "start": NOW, "end": NOW - DAY, "reason": "r"}), 422, "invalid_parameter", "/end"),
    Bad("68 silence of two years", "POST", "/silences", orjson.dumps({"model": "flights", "start": NOW, "end": NOW + 730 * DAY, "reason": "r"}), 422, "invalid_parameter", "/end"),
    Bad("68 silence of everything, unconfirmed", "POST", "/silences", orjson.dumps({"start": NOW, "end": NOW + DAY, "reason": "r"}), 422, "missing_field", "/model"),
    Bad("68 silence without a zone", "POST", "/silences", b'{"model":"flights","start":"2026-01-01T00:00:00","end":"2026-01-02T00:00:00Z","reason":"r"}', 422, "invalid_parameter", "/start"),
    Bad("69 promote without If-Match", "POST", "/models/flights/promote", b'{"version":"1"}', 428, "precondition_required"),
    Bad("69 promote with a stale If-Match", "POST", "/models/flights/promote", b'{"version":"1"}', 409, "version_has_no_artifact", None, {"If_Match": "99"}),
    Bad("69 shadows with a stale If-Match", "PATCH", "/models/flights/deployment", b'{"shadows":[]}', 412, "precondition_failed", None, {"If_Match": '"99"'}),
    Bad("69 If-Match is no number", "PATCH", "/models/flights/deployment", b'{"shadows":[]}', 400, "invalid_parameter", "/If-Match", {"If_Match": "*"}),
    Bad("70 empty page", "GET", "/models?limit=0", b"", 400, "invalid_parameter", "/limit"),
    Bad("70 page size is text", "GET", "/models?limit=many", b"", 400, "invalid_parameter", "/limit"),
    Bad("70 unknown filter", "GET", "/incidents?stauts=open", b"", 400, "invalid_parameter", "/stauts"),
    Bad("70 unknown status", "GET", "/incidents?status=burning", b"", 400, "invalid_parameter", "/status"),
    Bad("70 unknown severity", "GET", "/incidents?severity=burning", b"", 400, "invalid_parameter", "/severity"),
    Bad("70 filter given twice", "GET", "/incidents?status=open&status=resolved", b"", 400, "invalid_parameter", "/status"),
    Bad("70 NUL in a filter", "GET", "/incidents?model=%00", b"", 400, "invalid_parameter", "/model"),
    Bad("70 cursor made up", "GET", "/models?cursor=eyJhIjoxfQ", b"", 400, "invalid_parameter", "/cursor"),
    Bad("70 unknown metric", "GET", "/models/flights/metrics?metric=luck", b"", 400, "invalid_parameter", "/metric"),
    Bad("70 no metric", "GET", "/models/flights/metrics", b"", 400, "missing_field", "/metric"),
    Bad("70 unknown step", "GET", "/models/flights/metrics?metric=f1&step=eon", b"", 400, "invalid_parameter", "/step"),
    Bad("70 time without a zone", "GET", "/models/flights/metrics?metric=f1&from=2026-01-01T00:00:00", b"", 400, "invalid_parameter", "/from"),
    Bad("70 an unknown mode", "GET", "/models/flights/drift?mode=nannyml", b"", 400, "invalid_parameter", "/mode"),
    Bad("70 from after to", "GET", "/models/flights/drift?from=-1d&to=-2d", b"", 400, "invalid_parameter", "/from"),
    Bad("70 unacceptable type", "GET", "/models/flights/metrics?metric=f1", b"", 406, "not_acceptable", None, {"accept": "image/png"}),
    Bad("name that a page has", "POST", "/models", b'{"name":"new","task":"binary"}', 422, "reserved_name", "/name"),
    Bad("name of a model with a slash", "POST", "/models", b'{"name":"a/b","task":"binary"}', 422, "invalid_parameter", "/name"),
    Bad("name of a model that exists", "POST", "/models", b'{"name":"flights","task":"binary"}', 409, "model_exists"),
    Bad("unknown task", "POST", "/models", b'{"name":"a","task":"magic"}', 422, "invalid_parameter", "/task"),
    Bad("unknown trainer", "POST", "/models", b'{"name":"a","task":"binary","workflow":{"trainer":"rm"}}', 422, "invalid_parameter", "/workflow/trainer"),
    Bad("eleven segments", "PATCH", "/models/flights", orjson.dumps({"segments": [str(n) for n in range(11)]}), 422, "invalid_parameter", "/segments"),
    Bad("97 mass assignment", "PATCH", "/models/flights", b'{"project":2}', 422, "unknown_field", "/project"),
    Bad("97 mass assignment of a rule", "PATCH", "/rules/{rule}", b'{"created_by":"me"}', 422, "unknown_field", "/created_by"),
    Bad("duplicate key in a setting", "PATCH", "/models/flights", b'{"autonomy":"auto","autonomy":"approve"}', 400, "duplicate_key"),
    Bad("20-digit integer in a setting", "PATCH", "/models/flights", b'{"objectives":{"latency_p99_ms":12345678901234567890}}', 422, "number_out_of_range", "/objectives/latency_p99_ms"),
    Bad("unknown objective", "PATCH", "/models/flights", b'{"objectives":{"fame":1}}', 422, "unknown_field", "/objectives/fame"),
    Bad("objective that is text", "PATCH", "/models/flights", b'{"objectives":{"label_lag_hours":"2"}}', 422, "invalid_parameter", "/objectives/label_lag_hours"),
    Bad("objective without its floor", "PATCH", "/models/flights", b'{"objectives":{"quality":{"metric":"f1"}}}', 422, "missing_field", "/objectives/quality/floor"),
    Bad("a rollout with falling weights", "PATCH", "/models/flights", b'{"workflow":{"rollout":{"steps":[{"weight":0.5},{"weight":0.2}]}}}', 422, "invalid_parameter", "/workflow/rollout/steps/1/weight"),
    Bad("a rollout to more than all", "PATCH", "/models/flights", b'{"workflow":{"rollout":{"steps":[{"weight":1.5}]}}}', 422, "invalid_parameter", "/workflow/rollout/steps/0/weight"),
    Bad("a guard that there is not", "PATCH", "/models/flights", b'{"workflow":{"rollout":{"report_only":["mood"]}}}', 422, "invalid_parameter", "/workflow/rollout/report_only/0"),
    Bad("an unknown field of a rollout", "PATCH", "/models/flights", b'{"workflow":{"rollout":{"speed":1}}}', 422, "unknown_field", "/workflow/rollout/speed"),
    Bad("97 mass assignment of a workflow", "PATCH", "/models/flights", b'{"workflow":{"model":2}}', 422, "unknown_field", "/workflow/model"),
    Bad("a kind of pipeline that is none", "PATCH", "/models/flights", b'{"workflow":{"remote":{"kind":"cron"}}}', 422, "invalid_parameter", "/workflow/remote/kind"),
    Bad("a pipeline at a private address", "PATCH", "/models/flights", b'{"workflow":{"remote":{"kind":"http","url":"https://10.0.0.1/"}}}', 422, "url_not_allowed", "/workflow/remote/url"),
    Bad("a setting that the kind lacks", "PATCH", "/models/flights", b'{"workflow":{"remote":{"kind":"http","url":"https://93.184.216.34/","dag_id":"x"}}}', 422, "unknown_field", "/workflow/remote/dag_id"),
    Bad("a pipeline without its DAG", "PATCH", "/models/flights", b'{"workflow":{"remote":{"kind":"airflow","url":"https://93.184.216.34"}}}', 422, "invalid_parameter", "/workflow/remote/dag_id"),
    Bad("a secret that cannot sign", "PATCH", "/models/flights", b'{"workflow":{"remote":{"kind":"http","url":"https://93.184.216.34/"},"remote_secret":"hunter22"}}', 422, "invalid_parameter", "/workflow/remote_secret"),
    Bad("a secret of no pipeline", "PATCH", "/models/flights", b'{"workflow":{"remote_secret":"hunter22"}}', 422, "invalid_parameter", "/workflow/remote_secret"),
    Bad("the trainer remote without a pipeline", "PATCH", "/models/flights", b'{"workflow":{"trainer":"remote"}}', 422, "invalid_parameter", "/workflow/remote"),
    Bad("a training of 40 days", "PATCH", "/models/flights", b'{"workflow":{"training_hours":960}}', 422, "invalid_parameter", "/workflow/training_hours"),
    Bad("unknown setting of the gate", "PATCH", "/models/flights", b'{"workflow":{"gate":{"bribe":1}}}', 422, "unknown_field", "/workflow/gate/bribe"),
    Bad("a margin that is text", "PATCH", "/models/flights", b'{"workflow":{"gate":{"margins":{"f1":"0.1"}}}}', 422, "invalid_parameter", "/workflow/gate/margins/f1"),
    Bad("rename a rule to one that exists", "PATCH", "/rules/{rule}", b'{"name":"other"}', 409, "rule_exists"),
    Bad("33 levels in a setting", "PATCH", "/models/flights", b'{"objectives":' + b'{"a":[' * 17 + b"]}" * 17 + b"}", 400, "too_deep"),
    Bad("1,001 keys in a setting", "PATCH", "/models/flights", orjson.dumps({"objectives": {str(n): 1 for n in range(1_001)}}), 422, "too_many_keys", "/objectives"),
    Bad("a setting sent as a form", "PATCH", "/models/flights", b"a=1", 415, "unsupported_media_type", None, {"content_type": "application/x-www-form-urlencoded"}),
    Bad("a list where an object belongs", "PATCH", "/models/flights", b"[]", 422, "invalid_parameter"),
    Bad("no body where one belongs", "POST", "/models", b"", 422, "missing_field"),
    Bad("settings of 2 MiB", "PATCH", "/models/flights", b'{"description":"' + b"a" * (2 << 20) + b'"}', 413, "body_too_large"),
    # E. webhooks
    Bad("71 ftp", "POST", "/channels", channel("ftp://example.com/"), 422, "url_not_allowed", "/target"),
    Bad("71 user in the URL", "POST", "/channels", channel("https://a@example.com/"), 422, "url_not_allowed", "/target"),
    Bad("72 loopback in disguise", "POST", "/channels", channel("https://2130706433/"), 422, "url_not_allowed", "/target"),
    Bad("73 cloud metadata", "POST", "/channels", channel("http://169.254.169.254/"), 422, "url_not_allowed", "/target"),
    Bad("74 carrier-grade NAT", "POST", "/channels", channel("https://100.64.0.1/"), 422, "url_not_allowed", "/target"),
    # F. references
    Bad("81 ragged rows", "PUT", "/models/flights/reference?version=1", b"a,b\n1,2\n1,2,3\n", 422, "invalid_csv", None, {"content_type": CSV}),
    Bad("81 not UTF-8", "PUT", "/models/flights/reference?version=1", b"a,\xff\n1,2\n", 422, "invalid_header", None, {"content_type": CSV}),
    Bad("82 duplicate header", "PUT", "/models/flights/reference?version=1", b"a,a\n1,2\n", 422, "invalid_header", None, {"content_type": CSV}),
    Bad("82 header alone", "PUT", "/models/flights/reference?version=1", b"a,b\n", 422, "no_rows", None, {"content_type": CSV}),
    Bad("82 nothing", "PUT", "/models/flights/reference?version=1", b"", 422, "no_rows", None, {"content_type": CSV}),
    Bad("84 cut Parquet", "PUT", "/models/flights/reference?version=1", b"PAR1" + b"0" * 50, 422, "not_parquet", None, {"content_type": "application/vnd.apache.parquet"}),
    Bad("85 xlsx", "PUT", "/models/flights/reference?version=1", b"PK\x03\x04" + b"0" * 50, 415, "unsupported_media_type", None, {"content_type": CSV}),
    Bad("85 Feather", "PUT", "/models/flights/reference?version=1", b"ARROW1" + b"0" * 50, 415, "unsupported_media_type", None, {"content_type": "application/octet-stream"}),
    Bad("85 JSON", "PUT", "/models/flights/reference?version=1", b"{}", 415, "unsupported_media_type"),
    # reports and runs
    Bad("report that ends first", "POST", "/models/flights/reports", orjson.dumps({"from": NOW, "to": NOW - DAY}), 422, "invalid_parameter", "/to"),
    Bad("report of another task", "POST", "/models/flights/reports", report(preset="regression"), 422, "invalid_parameter", "/preset"),
    Bad("report of no preset", "POST", "/models/flights/reports", report(preset="magic"), 422, "invalid_parameter", "/preset"),
    Bad("report by a test that is none", "POST", "/models/flights/reports", report(num_method="__import__"), 422, "invalid_parameter", "/num_method"),
    Bad("tests of a report that makes none", "POST", "/models/flights/reports", report(preset="data_summary", num_method="ks"), 422, "invalid_parameter", "/num_method"),
    Bad("report of a version that is none", "POST", "/models/flights/reports", report(version="9"), 422, "invalid_parameter", "/version"),
    Bad("report beside another's reference", "POST", "/models/flights/reports", report(preset="data_summary", reference="999999"), 422, "invalid_parameter", "/reference"),
    Bad("report beside half a period", "POST", "/models/flights/reports", report(reference="period"), 422, "invalid_parameter", "/reference_from"),
    Bad("report of NUL", "POST", "/models/flights/reports", report(segment="a:\0"), 422, "invalid_text", "/segment"),
    Bad("report that did not fail, again", "POST", "/models/flights/reports/{report}/retry", b"", 409, "report_not_failed"),
    Bad("report by Evidently as PDF", "GET", "/models/flights/reports/{report}/file?format=pdf", b"", 400, "invalid_parameter", "/format"),
    Bad("report as a spreadsheet", "GET", "/models/flights/reports/{report}/file?format=xlsx", b"", 400, "invalid_parameter", "/format"),
    Bad("run of an external version", "POST", "/models/two/runs", b"", 409, "no_champion"),
    Bad("run with a number as version", "POST", "/models/two/runs", b'{"version":2}', 422, "invalid_parameter", "/version"),
    Bad("run with an unknown field", "POST", "/models/two/runs", b'{"versoin":"2"}', 422, "unknown_field", "/versoin"),
    Bad("comparison without pairs", "GET", "/models/flights/comparison?challenger=1", b"", 409, "no_pairs"),
    Bad("91 token in the URL", "GET", "/models?token=dl_abc", b"", 400, "token_in_url"),
]  # fmt: skip

ITEMS = [
    BadItem("6 20-digit integer", {"features": {"a": 12345678901234567890}}, "number_out_of_range", "/features/a"),
    BadItem("8 NUL in a value", {"features": {"a": "x\0"}}, "invalid_text", "/features/a"),
    BadItem("8 NUL in a key", {"features": {"x\0": 1}}, "invalid_text", "/features/x\\x00"),
    BadItem("11 item over 64 KiB", {"features": {"a": "x" * (64 << 10)}}, "item_too_large", ""),
    BadItem("12 a list of one", {"features": {"a": [1]}}, "invalid_vector", "/features/a"),
    BadItem("15 empty id", {"id": ""}, "invalid_id", "/id"),
    BadItem("15 id of 201 characters", {"id": "x" * 201}, "invalid_id", "/id"),
    BadItem("15 id with a line break", {"id": "a\nb"}, "invalid_id", "/id"),
    BadItem("15 id with a right-to-left mark", {"id": "a\u202eb"}, "invalid_id", "/id"),
    BadItem("15 id is a number", {"id": 7}, "invalid_id", "/id"),
    BadItem("16 year 0", {"timestamp": "0000-01-01T00:00:00Z"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 year 10000", {"timestamp": "10000-01-01T00:00:00Z"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 30 February", {"timestamp": "2024-02-30T00:00:00Z"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 no zone", {"timestamp": "2026-01-01T00:00:00"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 leap second", {"timestamp": "2016-12-31T23:59:60Z"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 zone before year 1", {"timestamp": "0001-01-01T00:00:00+23:59"}, "invalid_timestamp", "/timestamp"),
    BadItem("16 milliseconds", {"timestamp": 1750000000000}, "invalid_timestamp", "/timestamp"),
    BadItem("17 eleven minutes ahead", {"timestamp": (NOW + DAY).isoformat()}, "timestamp_out_of_window", "/timestamp"),
    BadItem("17 older than is kept", {"timestamp": "1999-01-01T00:00:00Z"}, "timestamp_out_of_window", "/timestamp"),
    BadItem("20 probability above 1", {"probabilities": 1.1}, "invalid_probability", "/probabilities"),
    BadItem("20 probability below 0", {"probabilities": {"1": -0.1, "0": 1.1}}, "invalid_probability", "/probabilities/1"),
    BadItem("20 sum is not 1", {"probabilities": {"1": 0.5, "0": 0.4}}, "invalid_probability", "/probabilities"),
    BadItem("20 probability is text", {"probabilities": "high"}, "invalid_probability", "/probabilities"),
    BadItem("32 key of 101 characters", {"features": {"k" * 101: 1}}, "key_too_long", f"/features/{'k' * 64}"),
    BadItem("32 key of 1 MB", {"features": {"k" * 1_000_000: 1}}, "item_too_large", ""),
    BadItem("32 5,000 features", {"features": {str(n): n for n in range(5_000)}}, "too_many_keys", "/features"),
    BadItem("32 empty key", {"features": {"": 1}}, "key_too_long", "/features/"),
    BadItem("32 1,001 features", {"features": {str(n): n for n in range(1_001)}}, "too_many_keys", "/features"),
    BadItem("unknown field", {"feature": {}}, "unknown_field", "/feature"),
    BadItem("version with a space", {"version": "a b"}, "invalid_version", "/version"),
    BadItem("version of 65 characters", {"version": "1" * 65}, "invalid_version", "/version"),
    BadItem("unknown role", {"role": "queen"}, "invalid_role", "/role"),
    BadItem("negative latency", {"latency_ms": -1}, "invalid_latency", "/latency_ms"),
    BadItem("subject with a control character", {"subject": "a\tb"}, "invalid_subject", "/subject"),
    BadItem("51 tags", {"tags": {str(n): "x" for n in range(51)}}, "too_many_keys", "/tags"),
    BadItem("tag is a number", {"tags": {"a": 1}}, "wrong_type", "/tags/a"),
    BadItem("prediction is null", {"prediction": None}, "wrong_type", "/prediction"),
    BadItem("class of 201 characters", {"prediction": "x" * 201}, "invalid_prediction", "/prediction"),
]  # fmt: skip
