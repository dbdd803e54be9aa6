"""The examples of five domains, run as they stand against an installation, with fewer rows than for a reader."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.installation.running import Installation

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

EXAMPLES = Path(__file__).resolve().parents[3] / "docs/examples"
MAX_LINES = 150


def run(example: str, installation: Installation, folder: Path) -> str:
    """Run an example to its end; return what it printed."""
    ended = subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py"],
        cwd=folder,
        env=installation.environment
        | {
            "DRIFTLINE_URL": f"http://127.0.0.1:{installation.port}",
            "DRIFTLINE_TOKEN": installation.token,
            "EXAMPLE_SCALE": "0.6",
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def numbers(pattern: str, printed: str) -> list[float]:
    """Return the numbers of the only place where a pattern matches."""
    [found] = re.findall(pattern, printed)
    return [float(number) for number in ([found] if isinstance(found, str) else found)]


def test_fraud_sees_that_labels_depend_on_the_decision_and_measures_a_control_group(
    installation: Installation, tmp_path: Path
) -> None:
    printed = run("fraud", installation, tmp_path)

    selective, ripe = numbers(r"selective labels\) on (\d+) of (\d+) ripe days", printed)
    let_through, declined = numbers(r"let through: (\d+)%.*\n  declined: (\d+)%", printed)
    recall_of_labelled, recall_of_control = numbers(
        r"([\d.]+) of all payments.*\n  ([\d.]+) of the control", printed
    )
    assert (ripe, selective) == (10, pytest.approx(10, abs=4))
    assert (let_through, declined) == (100, pytest.approx(20, abs=15))
    assert recall_of_labelled < recall_of_control - 0.1
    assert numbers(r"may still come: (\d+) days", printed)[0] >= 5
    assert re.search(r" drifted.*\(since", printed)
    assert "amount drifted" in printed


def test_recommendations_shows_that_small_sellers_vanish_while_the_order_stays_good(
    installation: Installation, tmp_path: Path
) -> None:
    printed = run("recommendations", installation, tmp_path)

    days = re.findall(r"^\d{4}-\d\d-\d\d +([\d.]+) \(([\d.]+) to ([\d.]+)\).* (\d+)%$", printed, re.M)
    exposure = [int(day[3]) for day in days]
    usual, newest = [[float(bound) for bound in day[1:3]] for day in (days[4], days[-1])]
    assert len(days) == 8
    assert min(exposure[:5]) > 55
    assert max(exposure[5:]) < 45
    assert newest[0] < usual[1], "the intervals of NDCG overlap: it does not tell"
    assert re.search(r"seller\w* drifted|features drifted: .*seller", printed)


def test_wearables_finds_a_firmware_from_summaries_and_has_no_reading(
    installation: Installation, tmp_path: Path
) -> None:
    printed = run("wearables", installation, tmp_path)

    assert "missing values in spo2" in printed
    assert "skin_temp moved" in printed
    assert printed.count("409 rows_not_kept") == 3
    assert "the note, which is dropped: False" in printed


def test_sensors_names_the_sensor_that_stands_still_and_the_one_with_gaps(
    installation: Installation, tmp_path: Path
) -> None:
    printed = run("sensors", installation, tmp_path)

    weeks = re.findall(
        r"of [\d-]+ +(\d+)%.*? (ok|warning|critical) +(\d+)%.*? (ok|warning|critical)$", printed, re.M
    )
    assert [week for week in weeks if int(week[0]) < 50 and (week[1], week[3]) == ("ok", "ok")]
    assert [week for week in weeks if int(week[0]) == 100 and "ok" not in (week[1], week[3])]
    assert re.search(r"week of [\d-]+ +none\n(.*\n)*.*week of [\d-]+ +ewr_wind_speed, lga_humid\n", printed)
    assert re.search(r"critical: .*(ewr_wind_speed fails|quality checks: .*ewr_wind_speed)", printed), printed


def test_vehicles_finds_the_dark_camera_and_its_images_by_their_embedding(
    installation: Installation, tmp_path: Path
) -> None:
    printed = run("vehicles", installation, tmp_path)

    front, rear = [
        [float(value) for value in re.findall(r"[\d.]+", line)]
        for line in re.findall(r"camera, day by day: (.*)", printed)
    ]
    images = re.findall(r"images (\w+): their mean moved by ([\d.]+) of the usual spread", printed)
    assert min(front) > 0.7
    assert max(rear[5:]) < min(rear[:5]) - 0.1
    assert [decision for decision, _ in images] == ["stable", "drifted"]
    assert float(images[0][1]) < 0.15 < float(images[1][1])
    assert re.search(r"AUC 0\.[6-9]\d, (warning|critical)", printed)
    drifted = re.findall(r"what drifted: (.*)", printed)
    assert drifted[0] == "nothing"
    assert {"image", "brightness", "sharpness"} <= set(drifted[1].split(", "))
    assert re.findall(r"\d+-\d+ of the (\w+) camera; nearest are rows \d+, \d+, \d+", printed) == ["rear"] * 5


def test_each_example_is_short_and_is_listed() -> None:
    page = (EXAMPLES / "index.md").read_text()
    examples = {path.name: path.read_text().splitlines() for path in EXAMPLES.glob("*.py")}

    assert len(examples) == 6
    assert {name: len(lines) for name, lines in examples.items() if len(lines) > MAX_LINES} == {}
    assert set(re.findall(r"\]\((\w+\.py)\)", page)) == examples.keys()
