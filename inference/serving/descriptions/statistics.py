"""The statistics extension: what all processes of this home have counted, as V2 tells it.

Every process writes its counts once a second, so the sums are up to a second old.
"""

from pathlib import Path
from typing import Any

from driftline.base.accounts.access.scopes import Scope
from inference.protocol.v2.open_inference import parse_model_path
from inference.serving.callers import InferenceCaller
from inference.serving.counts.metrics import read_label_key
from inference.serving.descriptions.metadata import json_answer
from inference.serving.plan import PlanModel
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from inference.serving.routing import RoutingTable, find_version
from inference.serving.status.status import total_counts, upstream_circuits

# V2's parts of an answer's time -> our phases.
PARTS = {
    "success": ["total"],
    "queue": ["queue"],
    "compute_input": ["decode", "batch"],
    "compute_infer": ["compute"],
    "compute_output": ["encode", "log"],
}
NOTHING = {"count": 0, "ns": 0}

type Counts = dict[tuple[int, str], list[dict[str, Any]]]  # by model id and version: one of each role


def asks_statistics(path: str) -> bool:
    """Return whether a path asks for statistics: of all models, of one, or of one of its versions."""
    return path.startswith("/v2/models/") and path.endswith("/stats") and path.count("/") in (3, 4, 6)


def statistics(home: Path, table: RoutingTable, path: str, caller: InferenceCaller) -> Answer | Refusal:
    """Answer /v2/models/stats and /v2/models/{m}[/versions/{v}]/stats; reads files, so call it in a thread."""
    token = table.authenticate(caller, Scope.INFER, Scope.READ)
    if isinstance(token, Refusal):
        return token
    if path == "/v2/models/stats":
        pairs = [(model, version) for model in table.models_of(token.project_id) for version in _names(model)]
        return _answer(home, pairs)
    target = parse_model_path(path.removesuffix("/stats").encode("utf-8", "surrogateescape"))
    if target is None:
        return Refusal(404, "There is nothing at this path; see /v2/models.")
    model = table.find_model(token.project_id, target.model)
    if isinstance(model, Refusal):
        return model
    if target.version is None:
        return _answer(home, [(model, name) for name in _names(model)])
    version = find_version(model, target.version)
    return version if isinstance(version, Refusal) else _answer(home, [(model, version.version)])


def _names(model: PlanModel) -> list[str]:
    return [version.version for version in model.versions]


def _answer(home: Path, pairs: list[tuple[PlanModel, str]]) -> Answer:
    totals = total_counts(home)
    counts, calls, circuits = _read_counts(totals), _read_calls(totals), upstream_circuits(home)
    stats = []
    for model, version in pairs:
        key = model.id, version
        described = {"name": model.name, "version": version, **_describe(counts.get(key, []))}
        if key in calls or key in circuits:
            described["upstream"] = {"circuits": circuits.get(key, {}), "calls": calls.get(key, {})}
        stats.append(described)
    return json_answer({"model_stats": stats})


def _read_counts(totals: dict[str, Any]) -> Counts:
    """Read the counts of requests; a shadow answers copies of them, so its are left out."""
    counts: Counts = {}
    for key, series in totals["series"].items():
        model_id, version, role = read_label_key(key)
        if role != "shadow":
            counts.setdefault((model_id, version), []).append(series)
    return counts


def _read_calls(totals: dict[str, Any]) -> dict[tuple[int, str], dict[str, int]]:
    """Read how calls of other servers ended, by model id and version: our own addition to what V2 tells."""
    calls: dict[tuple[int, str], dict[str, int]] = {}
    for key, count in totals["upstream_calls"].items():
        model_id, version, outcome = read_label_key(key)
        calls.setdefault((model_id, version), {})[outcome] = count
    return calls


def _describe(roles: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a version's counts. Runs are counted by ranges of rows, which `batch_stats` cannot say: it is empty."""
    failed = sum(sum(series["faults"].values()) for series in roles)
    parts = {part: _sum_phases(roles, phases) for part, phases in PARTS.items()}
    return {
        "inference_count": sum(series["rows"] for series in roles),
        "execution_count": sum(sum(series["batch_rows"]["counts"]) for series in roles),
        "inference_stats": {
            **parts,
            "fail": {"count": failed, "ns": 0},  # their time is not measured
            "cache_hit": NOTHING,
            "cache_miss": NOTHING,
        },
        "batch_stats": [],
    }


def _sum_phases(roles: list[dict[str, Any]], phases: list[str]) -> dict[str, int]:
    return {
        "count": sum(sum(series["phases"][phases[0]]["counts"]) for series in roles),
        "ns": sum(series["phases"][phase]["sum"] for series in roles for phase in phases),
    }
