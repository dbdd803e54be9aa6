"""The examples and the README's lines, run as they stand against the real API."""

import csv
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftline_client.examples import fastapi_app
from tests.driftline_client.platform import Platform
from tests.driftline_client.programs import DRAWER, environment, run

README = DRAWER.parent / "README.md"
EXAMPLES = Path(fastapi_app.__file__).parent
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class TestReadme:
    def test_leads_to_first_data_in_three_lines(self, platform: Platform) -> None:
        """Nothing is prepared but the address and the token."""
        (block,) = re.findall(r"```python\n(import driftline_client.*?)```", README.read_text(), re.S)
        lines = block.splitlines()
        assert [".log(" in line for line in lines if line][:3] == [False, False, True]

        key = run(f"{block}\nprint(key)", url=platform.url, token=platform.token).stdout.strip()

        assert platform.get("/models/approvals")["task"] == "binary"
        kept = platform.get(f"/models/approvals/predictions/{key}")
        assert kept["features"] == {"income": 41.5, "region": "north"}
        assert (kept["prediction"], kept["probability"]) == ("1", pytest.approx(0.82))
        assert [label["value"] for label in kept["labels"]] == ["1"]


class TestFastApiApp:
    @pytest.fixture
    def app(self, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("DRIFTLINE_URL", platform.url)
        monkeypatch.setenv("DRIFTLINE_TOKEN", platform.token)
        monkeypatch.setattr(fastapi_app, "BUFFER", str(tmp_path / "buffer"))
        return fastapi_app.app

    @pytest.mark.slow
    async def test_logs_what_it_answers_and_what_came_of_it(self, app: Any, platform: Platform) -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as browser,
        ):
            answer = (await browser.post("/applications", json={"income": 41.5, "region": "north"})).json()
            told = await browser.put(f"/applications/{answer['id']}/outcome", json={"repaid": True})
            await app.state.approvals.flush(20)
            health = await browser.get("/health")

        assert (told.status_code, health.json()) == (202, {"sent": 2, "queued": 0})
        kept = platform.get(f"/models/approvals/predictions/{answer['id']}")
        assert kept["features"] == {"income": 41.5, "region": "north"}
        assert (kept["prediction"], kept["probability"]) == ("1", pytest.approx(answer["probability"]))
        assert [label["value"] for label in kept["labels"]] == ["1"]


@pytest.mark.e2e  # makes the environment that holds Polars
class TestBatchScorer:
    def test_scores_labels_and_repeats_itself_safely(
        self, platform: Platform, client_environment: Path, tmp_path: Path
    ) -> None:
        customers, outcomes = tmp_path / "customers.csv", tmp_path / "outcomes.csv"
        people = [
            {"id": f"c-{n}", "seen_at": (YESTERDAY + timedelta(seconds=n)).isoformat(), "age": 20 + n % 60}
            | {"income": 20_000.0 + n % 700, "plan": ["basic", "pro"][n % 2]}
            for n in range(1_500)
        ]
        _write(customers, people)
        _write(outcomes, [{"id": person["id"], "left": n % 2} for n, person in enumerate(people)])

        def step(*arguments: str) -> str:
            command = [client_environment / "bin/python", EXAMPLES / "batch_scorer.py", *arguments]
            ended = subprocess.run(
                command,
                env=environment(platform.url, platform.token),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        step("reference", str(customers))
        assert step("score", str(customers), str(tmp_path / "scored.parquet")).startswith(
            "1,500 accepted, 0 known"
        )
        assert "1,500 known already" in step("score", str(customers), str(tmp_path / "scored.parquet"))
        assert step("label", str(outcomes)).startswith("1,500 accepted")

        kept = platform.get("/models/churn/predictions/c-1")
        assert (kept["version"], kept["features"]) == (
            "2026-01",
            {"age": 21.0, "income": 20_001.0, "plan": "pro"},
        )
        assert [label["value"] for label in kept["labels"]] == ["1"]
        assert platform.get("/models/churn/reference?version=2026-01")["rows"] == 1_500


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
