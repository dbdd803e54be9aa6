"""The layout keeps Python's and Celery's own names free, and the hot path free of Django."""

import ast
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
DRAWER = CHECKOUT / "platform"
FREE_OF_DJANGO = [
    "inference.prediction_log.spool.record",
    "inference.prediction_log.spool.segments",
    "inference.protocol",
    "inference.runtime",
    "inference.serving",
    "monitors.stats",
]
IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        importlib.import_module(module.name)
    slow = {"django", "celery", "kombu", "psycopg2", "pandas", "scipy.special"} & sys.modules.keys()
    if slow:
        sys.exit(f"{name} imports {slow}")
"""

LOAD_THE_APPLICATION = """
import sys, django
django.setup()
from driftline.operations.services.children import load_application
load_application()
print({name.partition(".")[0] for name in sys.modules})
"""
NEEDED_BY_SOME_WORK_ONLY = {
    "apprise", "confluent_kafka", "evidently", "lightgbm", "nats", "onnx", "onnxmltools", "paho", "pandas", "plotly",
    "skl2onnx", "sklearn", "sphinx", "statsmodels", "typst",
}  # fmt: skip


class TestPlatformFolder:
    def test_does_not_hide_pythons_own_module(self) -> None:
        assert platform.python_implementation() == "CPython"
        assert not Path(platform.__file__).is_relative_to(CHECKOUT)

    def test_holds_packages_and_nothing_loose(self) -> None:
        loose = [entry.name for entry in DRAWER.iterdir() if not entry.is_dir()]

        assert loose == []
        assert not (DRAWER / "__init__.py").exists()

    def test_holds_no_package_with_a_name_that_python_or_celery_uses(self) -> None:
        packages = {entry.name for entry in DRAWER.iterdir() if entry.name != "__pycache__"}

        assert packages <= {
            "driftline",
            "deploy",  # files, no package
            "driftline_agent",
            "driftline_client",
            "driftline_flink",
            "driftline_spark",
        }

    def test_has_no_folder_of_tests_with_its_name(self) -> None:
        assert not (CHECKOUT / "tests" / "platform").exists()


class TestTestFolders:
    def test_are_packages(self) -> None:
        folders = {file.parent for file in (CHECKOUT / "tests").rglob("test_*.py")}

        assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []

    def test_share_helper_modules_and_import_no_test_module(self) -> None:
        imports = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*test_\w+.*", re.MULTILINE)
        files = (CHECKOUT / "tests").rglob("*.py")

        assert [line for file in files for line in imports.findall(file.read_text())] == []


class TestHotPath:
    def test_starts_without_what_is_slow_to_load_and_hardly_needed(self) -> None:
        command = [sys.executable, "-c", IMPORT_EVERYTHING, *FREE_OF_DJANGO]

        result = subprocess.run(command, capture_output=True, text=True, check=False)

        assert (result.returncode, result.stderr) == (0, "")


class TestInstallation:
    @pytest.mark.slow
    def test_starts_without_what_only_some_work_needs(self, tmp_path: Path) -> None:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
            "DRIFTLINE_HOME": str(tmp_path),
        }

        loaded = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOAD_THE_APPLICATION],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )

        names = set(ast.literal_eval(loaded.stdout))
        assert "django" in names
        assert names & NEEDED_BY_SOME_WORK_ONLY == set()
