"""What one stage hands to another is named where "go to definition" finds it: tasks, signals and hooks."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.dispatch import Signal

from driftline.base.hooks import Hook
from driftline.base.work.task_queue import Task
from driftline.celery import app
from tests.architecture.sources import product_trees


@cache
def modules() -> dict[str, ast.Module]:
    """The modules of the platform by name; the client hands nothing over."""
    names = {path: path.with_suffix("").parts for path in product_trees()}
    named = {
        path: ".".join(parts).removeprefix("platform.").removesuffix(".__init__")
        for path, parts in names.items()
    }
    return {
        name: product_trees()[path]
        for path, name in named.items()
        if name.split(".")[0] in ("driftline", "inference", "monitors")
    }


def module_variables(kind: type) -> dict[str, Any]:
    """The variables of that type by `module.name`, each in the module that defines it."""
    found = {}
    for module, tree in modules().items():
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(name)], value=ast.Call(func=ast.Name(called))) if (
                    called == kind.__name__
                ):
                    found[f"{module}.{name}"] = getattr(importlib.import_module(module), name)
    return found


class TestTasks:
    def test_every_task_is_in_the_enum_and_every_member_is_a_task(self) -> None:
        app.loader.import_default_modules()

        ours = {name for name, task in app.tasks.items() if task.__module__ in modules()}

        assert ours == set(Task)

    def test_the_clock_sends_tasks_of_the_enum_only(self) -> None:
        assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(Task)

    @pytest.mark.slow
    def test_no_source_names_a_task_by_a_literal(self) -> None:
        names = {str(task) for task in Task}

        found = [
            f"{module}:{node.lineno}"
            for module, tree in modules().items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in names
            if ".migrations." not in module  # there `monitors.alert` is a model
        ]

        assert {place.partition(":")[0] for place in found} == {"driftline.base.work.task_queue"}

    def test_keep_their_names_on_the_wire(self) -> None:
        """Messages of an older version may wait in the broker while a newer one starts."""
        assert {task.value for task in Task} == {
            "accounts.send_invitation",
            "accounts.send_reset_mail",
            "driftline.close_windows",
            "driftline.heartbeat",
            "driftline.long_work",
            "driftline.measure_projects",
            "driftline.seal_audit",
            "driftline.sweep",
            "driftline.tidy",
            "inference.expire",
            "inference.pack",
            "monitors.advance",
            "monitors.alert",
            "monitors.catch_up",
            "monitors.deliver",
            "monitors.notify",
            "monitors.poll_mlflow",
            "monitors.expire",
            "monitors.judge",
            "monitors.measure",
            "monitors.measure_ended",
            "monitors.rank_causes",
            "monitors.remove_parts",
            "monitors.send_digests",
            "monitors.start_due_runs",
            "monitors.stop_pipeline",
            "monitors.summarise",
            "monitors.workflow",
        }


class TestSignals:
    def test_are_listed_in_the_module_of_their_stage(self) -> None:
        signals = module_variables(Signal)

        assert signals
        assert [name for name in signals if name.split(".")[-2] != "signals"] == []

    def test_each_has_a_receiver(self) -> None:
        silent = [name for name, signal in module_variables(Signal).items() if not signal.receivers]

        assert silent == []


class TestHooks:
    def test_are_listed_in_the_module_of_their_stage(self) -> None:
        hooks = module_variables(Hook)

        assert hooks
        assert [name for name in hooks if name.split(".")[-2] != "hooks"] == []

    def test_each_is_provided_when_django_starts(self) -> None:
        assert [name for name, hook in module_variables(Hook).items() if not hook.is_provided] == []

    @pytest.mark.slow
    def test_nothing_else_is_assigned_from_outside_its_module(self) -> None:
        found = [
            f"{module}:{line}" for module, tree in modules().items() for line in outside_assignments(tree)
        ]

        assert found == []

    @pytest.mark.parametrize(
        "source",
        [
            "from inference.registry.plan import publishing\npublishing.list_callbacks = list",
            "from inference.registry.plan import publishing\npublishing.steps.update(a=1)",
            "from inference.registry.plan import publishing\npublishing.steps['a'] = list",
            "import inference.registry.plan.publishing\ninference.registry.plan.publishing.list_callbacks = list",
        ],
    )
    def test_a_planted_assignment_is_found(self, source: str) -> None:
        assert list(outside_assignments(ast.parse(source))) == [2]


def outside_assignments(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that assign to a variable of another module of ours, or add to one."""
    ours = set(imported_modules(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                places = [target for target in targets if isinstance(target, ast.Attribute | ast.Subscript)]
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                places = [target] if isinstance(target, ast.Attribute | ast.Subscript) else []
            case ast.Call(
                func=ast.Attribute(value=value, attr="append" | "add" | "extend" | "setdefault" | "update")
            ):
                places = [value]
            case _:
                continue
        for place in places:
            if any(ast.unparse(place).startswith(f"{name}.") for name in ours):
                yield node.lineno


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Yield the names by which a source knows modules of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.asname or name.name for name in node.names if name.name in modules())
        elif isinstance(node, ast.ImportFrom):
            yield from (
                name.asname or name.name for name in node.names if f"{node.module}.{name.name}" in modules()
            )
