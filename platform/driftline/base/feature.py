"""A feature: a part of the product in a folder of its own, which says in its `feature.py` what it adds to the rest.

`driftline/features.py` lists them; what serves all of them, such as the API, key rotation and long work, asks
`features()` and names none. A feature's `log_receivers.py` connects it to the log wherever rows are stored, on a
serving host too, its `models.py` has its tables, and its `data_removal.py` how what they hold goes: these two count
also where the feature is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models

if TYPE_CHECKING:  # a serving host has neither the API nor long work
    from threading import Event

    from ninja import Router
    from pydantic import BaseModel

    from driftline.base.accounts.models import Project
    from driftline.base.extras import Extra
    from driftline.base.work.long_work import LongWorkKind
    from driftline.base.work.task_queue import Task

type Sample = tuple[str, Sequence[str], float]
"""A metric's name, the values of its labels, and its value."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where nothing is to be done."""

    subject: str
    text: str
    remedy: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.remedy


@dataclass(frozen=True)
class PageLink:
    """An entry of a list of pages."""

    route: str
    title: str


@dataclass(frozen=True)
class DueWork:
    """Rows that wait for a task each, by the name of its argument: the sweep enqueues it, should a message be lost."""

    task: Task
    argument: str
    rows: Callable[[], models.QuerySet[Any]]


@dataclass(frozen=True)
class FeatureConsumer:
    """Rows for each of which `manage.py consume` keeps a thread, up to so many in a process.

    `work` takes the id of a row and an event that ends it; `note_unserved` hears for which rows there was no room.
    """

    wanted: Callable[[], Iterable[int]]
    work: Callable[[int, Event], None]
    max_threads: int
    note_unserved: Callable[[set[int]], None] = lambda ids: None


@dataclass(frozen=True)
class ConfiguredPart:
    """What a project has at most one of, and its document of configuration says under a name: null where it has none.

    `describe` returns the settings as they are stored, or None; `set_up` takes the project, settings of `schema` and
    the actor, and `stop` the project and the actor.
    """

    name: str
    schema: type[BaseModel]
    describe: Callable[[Project], dict[str, Any] | None]
    set_up: Callable[[Project, Any, str], object]
    stop: Callable[[Project, str], None]


@dataclass(frozen=True)
class ConfiguredList:
    """What a project has many of, each under a name, and its document of configuration lists.

    `given` returns how the document describes one, `stored` yields the names and descriptions of those there are; what
    stands in one of the `groups` of a description is compared field by field. `create` takes the project, a name, a
    description and the actor; `change` what of it is another, and `delete` nothing of it. A change needs the right to
    change the `kind`, and what `rights` adds: fields, each with what has to be allowed.
    """

    kind: str
    name: str
    schema: type[BaseModel]
    groups: Sequence[str]
    given: Callable[[Any], dict[str, Any]]
    stored: Callable[[Project], Iterable[tuple[str, dict[str, Any]]]]
    create: Callable[[Project, str, dict[str, Any], str], object]
    change: Callable[[Project, str, dict[str, Any], str], object]
    delete: Callable[[Project, str, str], object]
    lasting: Sequence[str]
    """Fields that stay: those of a group are written with a dot, as `settings.kind` is."""
    rights: Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[tuple[str, str]]] = (
        lambda before, after: ()
    )
    """Of what it is and what becomes another; a dot as in `lasting`."""


@dataclass(frozen=True)
class PagePart:
    """A part of a page that shows something else: its template, and what that shows of the page's subject."""

    template: str
    context: Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True)
class FeatureMetrics:
    """What `/metrics` shows of a feature.

    `families` has the help and the labels of each metric by its name. `samples` yields the present values: those of a
    project, or all where it is None.
    """

    families: Mapping[str, tuple[str, Sequence[str]]]
    samples: Callable[[Project | None], Iterable[Sample]]


@dataclass(frozen=True)
class ProductFeature:
    """What one feature adds; everything but its name may be left out."""

    name: str
    routers: Sequence[Router] = ()
    """Of `/api/v1`."""
    pages: str = ""
    """The module whose `urlpatterns` are its pages; it is loaded where pages are served."""
    objects: Mapping[str, type[models.Model]] = field(default_factory=dict)
    """The table of the object that a route of its pages names by its number alone, by the route's name."""
    navigation: Sequence[PageLink] = ()
    """Entries of the main menu; one is current on every page below its own."""
    settings: Sequence[PageLink] = ()
    """Tabs of *Settings*."""
    tabs: Sequence[PageLink] = ()
    """Tabs of a model."""
    version_part: PagePart | None = None
    """On the page of a version that holds a model."""
    retention_part: PagePart | None = None
    """In the settings of a model, below how long its rows are kept."""
    configured: ConfiguredPart | None = None
    configured_list: ConfiguredList | None = None
    admin: str = ""
    """The module that registers its tables with the admin; it is loaded where the admin is served."""
    metrics: FeatureMetrics | None = None
    needs: Callable[[], Iterable[tuple[Extra, str]]] = tuple
    """Yields the extras that what is stored of it needs, each with what needs it."""
    long_work: Sequence[LongWorkKind] = ()
    behind_edge_key: Callable[[], int] = lambda: 0
    """Returns how many devices trust an earlier edge key than the newest."""
    consumers: Sequence[FeatureConsumer] = ()
    due: Sequence[DueWork] = ()
    tidy: Sequence[Callable[[datetime], object]] = ()
    """Called every hour: they delete what is old."""
    active_work: Callable[[Project], Iterable[str]] = lambda project: ()
    """Yields in words what is under way in a project and would change it."""
    findings: Callable[[], Iterable[Finding]] = tuple
    """What `manage.py doctor` has to say of it."""


@dataclass(frozen=True)
class ErasureStep:
    """A step of an erasure, which takes its `Work` and follows the one named `after`."""

    name: str
    after: str
    erase: Callable[[Any], None]


@dataclass(frozen=True)
class DataRemoval:
    """How what a feature stores goes with a person or a model; a `data_removal.py` has it as `DATA_REMOVAL`.

    What goes with a model or its runs is deleted in the transaction of the caller; what is returned then removes the
    files of it, once that has ended well.
    """

    erasure: Sequence[ErasureStep] = ()
    vacuumed: Sequence[type[models.Model]] = ()
    """Tables that an erasure deletes rows of."""
    erase_from_run: Callable[[Any], object] = lambda run: None
    """Erases from what it made of the files of an active run, out of which an erasure took rows; under its lease."""
    counts: Callable[[Any], Iterable[tuple[int, str]]] = lambda model: ()
    """Counts what goes with a model, each number with the word for one."""
    use_of_version: Callable[[Any], str] = lambda version: ""
    """Returns in words what still uses a version, and how that ends; empty where nothing does."""
    delete_of_model: Callable[[Any], Callable[[], object]] = lambda model: _nothing
    delete_of_runs: Callable[[models.QuerySet[Any]], Callable[[], object]] = lambda runs: _nothing


def _nothing() -> None:
    pass


_features: list[ProductFeature] = []


def load_tables(app: str) -> None:
    """Load the tables of the features in an app's folder, also of those that are left out."""
    for package in settings.ALL_FEATURES:
        if package.startswith(f"{app}."):
            _load(package, "models")


def connect_to_log() -> None:
    """Connect the features of this installation to the log."""
    for package in settings.FEATURES:
        _load(package, "log_receivers")


def install() -> None:
    """Load the features of this installation, once its tables are there."""
    _features[:] = [import_module(f"{package}.feature").FEATURE for package in settings.FEATURES]


def data_removals() -> list[DataRemoval]:
    """List how what features store goes, also that of those which are left out."""
    modules = [_load(package, "data_removal") for package in settings.ALL_FEATURES]
    return [module.DATA_REMOVAL for module in modules if module is not None]


def _load(package: str, module: str) -> ModuleType | None:
    return import_module(f"{package}.{module}") if find_spec(f"{package}.{module}") else None


def configured_parts() -> list[ConfiguredPart]:
    """List what of features a document of configuration may say, in their order."""
    return [feature.configured for feature in _features if feature.configured is not None]


def configured_lists() -> list[ConfiguredList]:
    """List what of features a document of configuration may list, in their order."""
    return [feature.configured_list for feature in _features if feature.configured_list is not None]


def features() -> Sequence[ProductFeature]:
    """Return the features of this installation."""
    return _features
