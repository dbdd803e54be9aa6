"""A pinned release with a known vulnerability is named, by advisories of the Open Source Vulnerability format."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
PIN_OF_DJANGO = next(
    line.partition(" ")[0].partition("==")[2]
    for line in (CHECKOUT / "requirements.txt").read_text().splitlines()
    if line.startswith("django==")
)


def advisory(**affected: Any) -> dict[str, Any]:
    return {
        "id": "PYSEC-2026-1",
        "aliases": ["CVE-2026-1"],
        "modified": "2026-11-01T10:00:00Z",
        "details": "Rows of others\nare shown.",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "Django"}} | affected],
    }


def between(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


def audit(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHECKOUT / ".ci" / "advisories.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def audited(folder: Path, found: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "advisory.yaml").write_text(yaml.safe_dump(found))
    return audit(folder)


class TestAudit:
    @pytest.mark.parametrize(
        "affected",
        [
            {"versions": [PIN_OF_DJANGO]},
            between({"introduced": "0"}),
            between({"introduced": "1.0"}, {"last_affected": PIN_OF_DJANGO}),
            between({"introduced": PIN_OF_DJANGO}, {"fixed": "999"}),
            between({"fixed": "2.0"}, {"introduced": "3.0"}, {"introduced": "0"}),
        ],
    )
    def test_names_a_release_that_is_affected(self, tmp_path: Path, affected: dict[str, Any]) -> None:
        found = audited(tmp_path, advisory(**affected))

        assert found.returncode == 1
        assert f"django {PIN_OF_DJANGO}: PYSEC-2026-1, CVE-2026-1" in found.stdout
        assert "Known vulnerabilities: 1 in" in found.stdout

    @pytest.mark.parametrize(
        "affected",
        [
            {"versions": ["1.0"]},
            between({"introduced": "0"}, {"fixed": PIN_OF_DJANGO}),
            between({"introduced": "0"}, {"last_affected": "1.0"}),
            between({"introduced": "999"}),
            {"package": {"ecosystem": "npm", "name": "django"}, "versions": [PIN_OF_DJANGO]},
        ],
    )
    def test_passes_by_others(self, tmp_path: Path, affected: dict[str, Any]) -> None:
        found = audited(tmp_path, advisory(**affected))

        assert found.returncode == 0
        assert found.stdout.startswith("Known vulnerabilities: 0 in ")

    def test_says_what_mends_it_and_of_when_the_newest_advisory_is(self, tmp_path: Path) -> None:
        found = audited(tmp_path, advisory(**between({"introduced": "0"}, {"fixed": "999"})))

        assert "mended in 999. Rows of others are shown." in found.stdout
        assert "The newest advisory is of 2026-11-01" in found.stdout

    def test_reads_json_too_and_leaves_out_what_was_withdrawn(self, tmp_path: Path) -> None:
        affecting = advisory(versions=[PIN_OF_DJANGO])
        (tmp_path / "one.json").write_text(json.dumps(affecting))
        (tmp_path / "two.json").write_text(json.dumps(affecting | {"withdrawn": "2026-11-02T10:00:00Z"}))

        assert "Known vulnerabilities: 1 in" in audit(tmp_path).stdout

    def test_does_not_pass_without_advisories(self, tmp_path: Path) -> None:
        found = audit(tmp_path)

        assert found.returncode == 2
        assert "holds no advisories" in found.stdout
