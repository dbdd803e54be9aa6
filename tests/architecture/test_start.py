"""The web server, workers and commands start without any extra, and without any feature."""

import subprocess
import sys
from pathlib import Path

import pytest

from driftline.base.extras import EXTRAS
from driftline.features import FEATURES

START = """
import importlib, pkgutil, sys, warnings
for module in sys.argv[1:]:
    sys.modules[module] = None
warnings.simplefilter("ignore")
import driftline.asgi
from django.core.management import get_commands, load_command_class
from django.urls import get_resolver
from driftline.celery import app
from driftline.base.extras import EXTRAS, is_installed

assert not any(map(is_installed, EXTRAS)), "the extras are not hidden"
assert list(get_resolver().reverse_dict), "no page was loaded"
app.loader.import_default_modules()
assert app.tasks, "no task was loaded"
for name, package in get_commands().items():
    if package == "driftline":
        load_command_class(package, name)
"""


@pytest.mark.slow
def test_nothing_imports_an_extra(tmp_path: Path) -> None:
    modules = [module for extra in EXTRAS for module in extra.modules]
    command = [sys.executable, "-c", START, *modules]
    environment = {"DRIFTLINE_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "driftline.settings"}

    ending = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert ending.returncode == 0, ending.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "module", "variable", "value"),
    [
        ("otlp", "opentelemetry.sdk", "DRIFTLINE_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("nats", "nats", "DRIFTLINE_DEVICE_NATS", "nats://127.0.0.1:4222"),
    ],
)
def test_a_setting_that_needs_one_is_refused_by_a_sentence(
    tmp_path: Path, extra: str, module: str, variable: str, value: str
) -> None:
    check = "import manage, sys; sys.modules[sys.argv[1]] = None; sys.argv[1:] = ['check']; manage.main()"

    ending = subprocess.run(
        [sys.executable, "-c", check, module],
        env={"DRIFTLINE_HOME": str(tmp_path), variable: value},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ending.returncode == 1
    assert ending.stderr.startswith(f"{variable} is set.")
    assert f"make extra ADD={extra}" in ending.stderr
    assert "Traceback" not in ending.stderr


ALONE = """
import sys
for module in ("allauth", "ninja", "pydantic", "pandas", "onnx", "sklearn", "plotly"):
    sys.modules[module] = None
import django
from django.core.management import load_command_class
django.setup()
from driftline.base.feature import features
assert not features(), "the features are loaded"
for name in ("serve", "drain_spool", "follow_plan"):
    load_command_class("driftline", name)
"""


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [*FEATURES, "all"])
def test_each_feature_may_be_left_out_and_all_of_them(tmp_path: Path, left_out: str) -> None:
    kept = [name for name in FEATURES if left_out not in (name, "all")]
    environment = {
        "DRIFTLINE_HOME": str(tmp_path),
        "DRIFTLINE_FEATURES": ",".join(kept) or "none",
        "PYTHONWARNINGS": "ignore",
    }
    check = (
        "import manage, sys; sys.argv[1:] = ['check']; manage.main(); import driftline.asgi;"
        "from driftline.base.feature import features;"
        "print(*(one.name for one in features()))"
    )

    ending = subprocess.run(
        [sys.executable, "-c", check],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ending.returncode == 0, ending.stderr
    loaded = set(ending.stdout.splitlines()[-1].split())
    assert loaded & FEATURES.keys() == set(kept)


@pytest.mark.slow
def test_a_serving_host_loads_none_of_the_packages_that_it_lacks(tmp_path: Path) -> None:
    environment = {"DRIFTLINE_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "driftline.settings"}

    ending = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, check=False
    )

    assert ending.returncode == 0, ending.stderr
