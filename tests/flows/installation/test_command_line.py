"""The client's wheel in an environment that has nothing else, and its command line against a whole installation."""

import csv
import json
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import driftline_client
from driftline.base.periods import rfc3339
from tests.flows.installation.running import FEATURES, Installation, make_model
from tests.waiting import wait_until

pytestmark = [pytest.mark.installation, pytest.mark.e2e]

CHECKOUT = Path(__file__).resolve().parents[3]
MODEL = "typed"
ROWS = 600
TRAINING = {"trainer": "sklearn_logistic_regression", "min_training_rows": 300}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment into which the wheel was installed, with what it depends on."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run([CHECKOUT / ".ci/wheel", folder], check=True)
    [wheel] = folder.glob("driftline_client-*.whl")
    uv = CHECKOUT / ".venv/bin/uv"
    subprocess.run(
        [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, folder / "env"], check=True
    )
    install = [uv, "pip", "install", "--quiet", "--python", folder / "env/bin/python"]
    install += ["--constraint", CHECKOUT / "requirements.txt", wheel]
    from_cache = subprocess.run([*install, "--offline"], capture_output=True)
    if from_cache.returncode != 0:  # where another tool than uv installed what the checkout needs
        subprocess.run(install, check=True)
    return folder / "env"


def notice_interrupts() -> None:
    """Undo what a shell does to the programs of a job in the background: Ctrl-C is not for them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Shell:
    """A person's shell, in a folder of its own, that has the installed `driftline`."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.folder = folder
        self._program = environment / "bin/driftline"
        self._variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self._program, *arguments], cwd=self.folder, env=self._variables,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=notice_interrupts,
        )  # fmt: skip

    def run(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run a command that ends with `code`; return what it printed."""
        process = self.start(*arguments)
        out, err = process.communicate(stdin, timeout=120)
        assert process.returncode == code, out + err
        return out + err

    def read(self, *arguments: str, code: int = 0) -> dict[str, object]:
        """Run a command with --json; return its document."""
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, out + err
        document: dict[str, object] = json.loads(out)
        return document


@pytest.fixture
def shell(environment: Path, tmp_path: Path) -> Shell:
    return Shell(environment, tmp_path)


def test_needs_httpx_and_nothing_of_the_platform(environment: Path, shell: Shell) -> None:
    found = subprocess.run(
        [environment / "bin/python", "-c", "import sys, driftline_client, driftline_client.cli.main as m;"
         "print(m.__file__, 'driftline' in sys.modules, 'numpy' in sys.modules)"],
        cwd=shell.folder, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    packages = {path.name.partition("-")[0] for path in environment.glob("lib/*/site-packages/*.dist-info")}

    assert Path(found[0]).is_relative_to(environment)
    assert found[1:] == ["False", "False"]
    assert "httpx" in packages
    assert packages <= {
        "driftline_client",
        "anyio",
        "certifi",
        "h11",
        "httpcore",
        "httpx",
        "idna",
        "typing_extensions",
    }
    assert shell.run("--version") == f"driftline {driftline_client.__version__}\n"


def test_the_readme_names_the_wheel_that_is_built() -> None:
    client = tomllib.loads((CHECKOUT / "platform/driftline_client/pyproject.toml").read_text())
    named = {
        name
        for page in ("README.md", "docs/guides/send-data.md", "platform/driftline_client/README.md")
        for name in re.findall(r"driftline_client-[\w.]+-py3-none-any\.whl", (CHECKOUT / page).read_text())
    }

    assert client["project"]["name"] == "driftline-client"
    assert named == {f"driftline_client-{driftline_client.__version__}-py3-none-any.whl"}


@pytest.fixture
def logged_in(installation: Installation, shell: Shell) -> Shell:
    shell.run("login", "--url", f"http://127.0.0.1:{installation.port}", stdin=installation.token)
    return shell


@pytest.fixture
def model(installation: Installation) -> str:
    make_model(installation, MODEL, autonomy="auto", objectives={"label_lag_hours": 0}, workflow=TRAINING)
    return MODEL


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def made_up_rows() -> list[dict[str, object]]:
    """Three days that end yesterday; the label is in f0, and the champion's answer has nothing to do with it."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(ROWS, len(FEATURES))).round(4)
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
    return [
        dict(zip(FEATURES, row, strict=True))
        | {"id": f"t-{number}", "timestamp": rfc3339(start + timedelta(days=3) * (number / ROWS))}
        | {"prediction": "1", "probability": 0.8, "label": int(row[0] > 0)}
        for number, row in enumerate(values.tolist())
    ]


def test_a_person_logs_files_and_follows_a_run(
    logged_in: Shell, installation: Installation, model: str
) -> None:
    rows = made_up_rows()
    write(logged_in.folder / "training.csv", rows)
    write(
        logged_in.folder / "newer.csv",
        [{name: value for name, value in row.items() if name != "label"} for row in rows],
    )
    write(logged_in.folder / "labels.csv", [{"id": row["id"], "label": row["label"]} for row in rows])

    assert "is ready: 600 rows" in logged_in.run("reference", "training.csv", "--model", model)
    assert "600 accepted" in logged_in.run("log", "newer.csv", "--model", model, "--version", "1")
    assert "600 accepted" in logged_in.run("labels", "labels.csv", "--model", model)
    assert logged_in.read("log", "newer.csv", "--model", model, "--version", "1")["existing"] is True
    assert "no unresolved incidents" in logged_in.run("incidents", "--model", model)
    assert model in logged_in.run("models")

    process = logged_in.start("run", "--model", model)
    number = wait_until(lambda: started_run(installation, model), what="the run")
    assert process.stderr is not None
    shown = ""
    while "train: done" not in shown:
        line = process.stderr.readline()
        assert line, shown
        shown += line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert (process.returncode, f"driftline run --model {model} --id {number}" in err) == (130, True)
    assert "has a run under way" in logged_in.run("run", "--model", model, code=1)
    with closing(installation.api()) as api:
        api.post(f"/api/v1/models/{model}/runs/{number}/cancel", {})
    ended = logged_in.read("run", "--model", model, "--id", str(number), code=1)
    assert (ended["id"], ended["state"]) == (number, "cancelled")


def started_run(installation: Installation, model: str) -> int | None:
    with closing(installation.api()) as api:
        runs = api.get(f"/api/v1/models/{model}/runs")["items"]
    return int(runs[0]["id"]) if runs else None
