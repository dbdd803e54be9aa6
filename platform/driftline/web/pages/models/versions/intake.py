"""What the intake found in a version, in sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftline.base.byte_sizes import format_bytes
from inference.registry.models import Version

FILLS = {"typical": "ordinary values", "missing": "missing values", "unseen": "categories it never saw"}


@dataclass(frozen=True)
class Intake:
    """A version's stored report; empty for an external version."""

    version: Version
    report: Mapping[str, Any]

    @classmethod
    def of(cls, version: Version) -> "Intake":
        return cls(version, version.intake_report or {})

    @property
    def is_known(self) -> bool:
        return bool(self.report)

    @property
    def warnings(self) -> list[str]:
        return list(self.report.get("warnings") or [])

    @property
    def dry_runs(self) -> list[dict[str, Any]]:
        return list(self.report.get("dry_runs") or [])

    @property
    def slowest_ms(self) -> float | None:
        return max((run["milliseconds"] for run in self.dry_runs), default=None)

    @property
    def operators(self) -> list[tuple[str, int]]:
        """Operators with how often each occurs, the most frequent first."""
        return sorted((self.report.get("ops") or {}).items(), key=lambda item: (-item[1], item[0]))

    @property
    def sentence(self) -> str:
        """Report in one sentence that it passed, and with what."""
        if self.version.is_external:
            return "Another server answers it; there is no file to examine here."
        if not self.is_known:
            return "No report was kept."
        if self.version.is_remote:
            return f"Its server was tried in {self.report['duration_ms'] / 1000:.1f} s{self._slowest}{self._warned}."
        return (
            f"It passed the intake in {self.report['duration_ms'] / 1000:.1f} s: opset {self.report['opset']}, "
            f"{self.report['node_count']:,} operators{self._slowest}{self._warned}."
        )

    @property
    def _slowest(self) -> str:
        if not self.dry_runs:
            return ""
        return f", the slowest of {len(self.dry_runs)} dry runs took {self.slowest_ms:.1f} ms"

    @property
    def _warned(self) -> str:
        return (
            f"; {len(self.warnings)} warning{'s' if len(self.warnings) > 1 else ''}" if self.warnings else ""
        )

    @property
    def checks(self) -> list[str]:
        """Name each check that was passed, with what was found."""
        if not self.is_known:
            return []
        report = self.report
        if self.version.is_remote:
            return [
                f"Its tensors fit the task: {_names(report['inputs'])} to {_names(report['outputs'])}.",
                *_runs(self.dry_runs),
                *_reference(report.get("reference")),
            ]
        return [
            f"Opened by a child process {_walls(report.get('sandbox') or {})}.",
            f"ONNX IR version {report['ir_version']} and opset {report['opset']}, which this server runs.",
            f"{report['node_count']:,} operators of {len(report.get('ops') or {})} kinds, all of the allowed domains.",
            f"Weights of {format_bytes(report['initializer_bytes'])}, all inside the file.",
            f"Its inputs and outputs fit the task: {_names(report['inputs'])} to {_names(report['outputs'])}.",
            *_runs(self.dry_runs),
            *_reference(report.get("reference")),
        ]


def _walls(sandbox: Mapping[str, Any]) -> str:
    walls = [
        words
        for key, words in (
            ("network_isolated", "without network"),
            ("files_isolated", "with no file but this one"),
            ("calls_filtered", "with few system calls"),
            ("root_dropped", "without root"),
        )
        if sandbox.get(key)
    ]
    memory = (
        f"at most {format_bytes(sandbox['memory_bytes'])} of memory" if sandbox.get("memory_bytes") else ""
    )
    return ", ".join([*walls, *([memory] if memory else [])]) or "with limits on memory and time"


def _names(tensors: list[Mapping[str, Any]]) -> str:
    names = [f"{tensor['name']}" for tensor in tensors]
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _runs(runs: list[dict[str, Any]]) -> list[str]:
    fills = dict.fromkeys(run["fill"] for run in runs if not run.get("error"))
    if not fills:
        return []
    largest = max(run["rows"] for run in runs)
    return [
        f"Ran on made-up rows, up to {largest:,} at once: {', '.join(FILLS.get(fill, fill) for fill in fills)}."
    ]


def _reference(run: Mapping[str, Any] | None) -> list[str]:
    if run is None:
        return []
    if run.get("error"):
        return [f"Fails on rows of the reference: {run['error']}"]
    return [f"Ran on {run['rows']:,} rows of the reference in {run['milliseconds']:.1f} ms."]
