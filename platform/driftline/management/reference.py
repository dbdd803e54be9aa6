"""The tables of the documentation that are written from the code, so that they cannot disagree with it.

Each page of `TABLES` holds two comments, which readers do not see, around the part that is written; the text around
them is written by hand.
"""

import argparse
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandParser
from prometheus_client.core import Metric as MetricFamily

from driftline.api.v1 import api
from driftline.base.accounts.access.scopes import SCOPE_OF, Role, Scope
from driftline.operations.observability import model_metrics
from driftline.operations.observability.metrics import BacklogCollector
from driftline.operations.observability.serving import ServingCollector
from driftline.settings.environment import CHECKOUT, every_setting
from monitors.alerts.channels import KINDS
from monitors.metrics.catalogue import METRICS
from monitors.metrics.glossary import meaning_of
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.orchestrators.base import Option

BEGIN = "<!-- written by `manage.py write_reference` -->"
END = "<!-- end of what is written -->"


class NoPlaceForTable(Exception):
    """A page lacks the two comments between which its table is written."""


def write_table(page: Path, table: str) -> str:
    """Return the text of a page with its table written anew.

    Raises NoPlaceForTable.
    """
    text, places = re.subn(
        f"{re.escape(BEGIN)}.*{re.escape(END)}",
        lambda _: f"{BEGIN}\n\n{table.strip()}\n\n{END}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if places != 1:
        raise NoPlaceForTable(f"{page} needs these two lines where its table belongs:\n{BEGIN}\n{END}")
    return text


def settings_table() -> str:
    """List every environment variable with its default and its line of help."""
    return _table(
        ("variable", "default", "what for"),
        (
            (f"`{setting.name}`", _default(setting.default), f"{setting.help} Use {setting.expected}.")
            for setting in every_setting()
        ),
    )


def _default(value: str) -> str:
    value = value.removeprefix(f"{CHECKOUT}/")
    return f"`{value}`" if value else "empty"


def commands_table() -> str:
    """List every command of `manage.py` that is not Django's, with its help and its arguments."""
    ours = {name: app for name, app in get_commands().items() if app.split(".")[0] in _OUR_PACKAGES}
    return "\n\n".join(_command(name, load_command_class(app, name)) for name, app in sorted(ours.items()))


_OUR_PACKAGES = ("driftline", "inference", "monitors")


def _command(name: str, command: BaseCommand) -> str:
    parser = CommandParser()  # without the options that Django gives every command
    command.add_arguments(parser)
    arguments = list(_arguments(parser, ""))
    tables = [_table(("argument", "what for"), arguments)] if arguments else []
    return "\n\n".join([f"## {name}", command.help, *tables])


def _arguments(parser: argparse.ArgumentParser, verb: str) -> Iterator[Sequence[str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                yield from _arguments(subparser, f"{name} ")
        elif not isinstance(action, argparse._HelpAction):
            yield f"`{verb}{', '.join(action.option_strings) or action.dest}`", _purpose(action)


def _purpose(action: argparse.Action) -> str:
    choices = [f"`{choice}`" for choice in action.choices or () if choice]
    parts = [
        (action.help or "").removesuffix("."),
        f"one of {', '.join(choices)}" if len(choices) > 1 else "",
        "required" if action.required and action.option_strings else "",
    ]
    return "; ".join(filter(None, parts))


def routes_table() -> str:
    """List every route of the API, in groups, from its OpenAPI document."""
    groups: dict[str, list[Sequence[str]]] = {}
    for path, methods in api.get_openapi_schema(path_prefix="/api/v1/")["paths"].items():
        for method, operation in methods.items():
            row = (
                f"`{method.upper()} {path.removeprefix('/api/v1')}`",
                operation["description"].split("\n\n")[0],
            )
            groups.setdefault(operation["tags"][0], []).append(row)
    return "\n\n".join(
        f"## {group.capitalize()}\n\n{_table(('route', 'what it does'), rows)}"
        for group, rows in groups.items()
    )


def scopes_table() -> str:
    """List what each scope allows, the roles that have it, and the scope that each change needs."""
    roles = _table(
        ("scope", "what it allows", "roles that have it"),
        ((f"`{scope}`", scope.allows, _roles_with(scope)) for scope in Scope),
    )
    changes = _table(
        ("change", "scope that it needs"),
        ((f"`{change}`", f"`{scope}`") for change, scope in sorted(SCOPE_OF.items())),
    )
    return f"{roles}\n\n## What a change needs\n\n{changes}"


def _roles_with(scope: Scope) -> str:
    return ", ".join(role for role in Role if role in scope.roles)


def metrics_table() -> str:
    """List every metric that is computed for models, by the kind of its monitor."""
    groups: dict[str, list[Sequence[str]]] = {}
    for metric in METRICS.values():
        worse = ("higher" if metric.lower_is_better else "lower") if metric.direction else "its own"
        row = (
            f"`{metric.name}`",
            metric.title,
            meaning_of(metric.name),
            metric.unit,
            worse,
            ", ".join(metric.spans) or "any",
        )
        groups.setdefault(str(metric.kind), []).append(row)
    head = ("metric", "name", "what it measures", "unit", "worse is", "windows")
    return "\n\n".join(f"## {kind.capitalize()}\n\n{_table(head, rows)}" for kind, rows in groups.items())


def channels_table() -> str:
    """List every kind of channel with its title and what its target is."""
    return _table(
        ("kind", "name", "target"),
        ((f"`{name}`", kind.title, kind.target) for name, kind in KINDS.items()),
    )


def pipelines_table() -> str:
    """List every kind of pipeline with its options, and what it was tried with."""
    return _table(
        ("kind", "name", "url", "options", "secret", "once for a key", "polled", "ended", "tried with"),
        (
            (
                f"`{name}`",
                kind.title,
                kind.url,
                ", ".join(_option(option) for option in kind.options) or "none",
                kind.secret,
                "yes" if kind.starts_once else "no",
                "yes" if kind.can_poll else "no",
                "yes" if kind.can_stop else "no",
                kind.tested_with or "*untested*",
            )
            for name, kind in ORCHESTRATORS.items()
        ),
    )


def _option(option: Option) -> str:
    optional = "" if option.is_required else ", optional"
    return f"`{option.name}` ({option.title}{optional})"


def prometheus_table() -> str:
    """List every Prometheus metric with its type and labels."""
    with tempfile.TemporaryDirectory() as empty_home:
        serving = ServingCollector(Path(empty_home), {}, ["triton", "tensorflow-serving"])
        families = [*serving.collect(), *BacklogCollector(None).describe(), *model_metrics.describe()]
    return _table(
        ("metric", "type", "labels", "what it counts"),
        ((f"`{_exposed_name(f)}`", f.type, ", ".join(_labels(f)), f.documentation) for f in families),
    )


def _exposed_name(family: MetricFamily) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Any) -> Sequence[str]:
    return family._labelnames


def layers_table() -> str:
    """List who may import whom, from the contracts that `make check` checks."""
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return "\n\n".join(f"## {contract['name']}\n\n{_contract(contract)}" for contract in contracts)


def _contract(contract: dict[str, Any]) -> str:
    match contract["type"]:
        case "layers":
            within = "".join(f" in `{name}`" for name in contract.get("containers", ()))
            layers = (re.findall(r"[\w.]+", layer) for layer in contract["layers"])
            lines = "\n".join(f"{place}. {_names(modules)}" for place, modules in enumerate(layers, 1))
            return f"Each line{within} may import those below it and what stands beside it on the line.\n\n{lines}"
        case "independence":
            return f"None of these imports another: {_names(contract['modules'])}."
        case _:
            return (
                f"None of {_names(contract['source_modules'])} imports any of "
                f"{_names(contract['forbidden_modules'])}."
            )


def _names(modules: Iterable[str]) -> str:
    return ", ".join(f"`{module}`" for module in modules)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


TABLES: dict[Path, Callable[[], str]] = {
    Path("reference/settings.md"): settings_table,
    Path("reference/commands.md"): commands_table,
    Path("reference/api.md"): routes_table,
    Path("reference/scopes.md"): scopes_table,
    Path("reference/metrics.md"): metrics_table,
    Path("reference/channels.md"): channels_table,
    Path("reference/pipelines.md"): pipelines_table,
    Path("reference/prometheus.md"): prometheus_table,
    Path("architecture/layers.md"): layers_table,
}
"""The pages of `docs/` with a table, and the function that writes it."""
