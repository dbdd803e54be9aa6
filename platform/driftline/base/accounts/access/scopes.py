"""Who may do what: the tables of scopes, roles and changes that the API, the pages and the serving processes read.

A token has scopes. A person has a role in a project, and `Scope` says which of the built-in roles have which scope; a
project's own roles are sets of scopes. So a token may do what a person with the same scopes may do. This module
imports no Django, because serving processes import it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # a serving process has no pydantic
    from pydantic import BaseModel


class Role(StrEnum):
    """The roles that every project has, from the least to the most; a project's own are beside them in `roles.py`."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a token or a role may do. A row holds the scope, what it allows, and the roles that have it."""

    allows: str
    roles: frozenset[Role]

    INFER = "infer", "ask models for predictions", {Role.ADMIN}
    LOG = "log", "log predictions that another server made", {Role.EDITOR, Role.ADMIN}
    LABEL = "label", "send labels", {Role.EDITOR, Role.ADMIN}
    BACKFILL = "backfill", "send event times older than ten minutes", {Role.EDITOR, Role.ADMIN}
    READ = "read", "read everything in the project", {Role.VIEWER, Role.EDITOR, Role.ADMIN}
    WRITE = (
        "write",
        "change models, rules, channels and references; archive models, references and data sets",
        {Role.EDITOR, Role.ADMIN},
    )
    DEPLOY = "deploy", "upload, archive, promote and roll back versions, start and approve runs", {Role.ADMIN}
    ADMIN = (
        "admin",
        "make tokens, delete, erase people, change privacy and retention, read the audit trail",
        {Role.ADMIN},
    )

    def __new__(cls, value: str, allows: str, roles: set[Role]) -> Self:
        scope = str.__new__(cls, value)
        scope._value_ = value
        scope.allows = allows
        scope.roles = frozenset(roles)
        return scope


SCOPES_OF_ROLE: Mapping[str, frozenset[Scope]] = {
    role: frozenset(scope for scope in Scope if role in scope.roles) for role in Role
}

SCOPE_OF: dict[str, Scope] = {  # the scope that each change needs
    # -- a model, beside its settings; what decides whether a version is deployed without a person needs `deploy`
    "model": Scope.WRITE,  # making one, which may have a description and objectives from the start
    "model.name": Scope.WRITE,
    "model.task": Scope.WRITE,
    "model.positive_class": Scope.WRITE,
    "model.segments": Scope.WRITE,
    "model.archived": Scope.WRITE,
    "model.delete": Scope.ADMIN,
    "model.workflow": Scope.DEPLOY,
    # -- what is deployed
    "version": Scope.DEPLOY,  # the first one becomes champion; also where it runs, its quarantine and archiving it
    "version.artifact": Scope.DEPLOY,
    "version.delete": Scope.ADMIN,
    "variants": Scope.WRITE,
    "variant.register": Scope.DEPLOY,
    "deployment": Scope.DEPLOY,  # its champion, canary and shadows
    "alias": Scope.DEPLOY,
    "run": Scope.DEPLOY,
    "device": Scope.DEPLOY,  # its code, group and revocation, and the releases to it
    # -- what is watched
    "reference": Scope.WRITE,
    "reference.archived": Scope.WRITE,
    "reference.delete": Scope.ADMIN,
    "dataset.archived": Scope.WRITE,
    "dataset.delete": Scope.ADMIN,
    "monitor": Scope.WRITE,  # the windows that it judges
    "expectation": Scope.WRITE,
    "segment": Scope.WRITE,
    "custom_metric": Scope.WRITE,
    "segment_search": Scope.WRITE,
    "report": Scope.WRITE,
    "evidence": Scope.ADMIN,  # to have one made, to open and to delete it: it has an extract of the audit trail
    "annotation": Scope.WRITE,
    "rule": Scope.WRITE,
    "rule.retrain": Scope.DEPLOY,  # a rule that starts runs, whatever of it changes
    "incident": Scope.WRITE,
    "silence": Scope.WRITE,
    "silence.all_models": Scope.ADMIN,
    "channel": Scope.WRITE,
    "delivery": Scope.WRITE,
    "configuration": Scope.WRITE,  # a document; each thing that it changes needs its own right too
    "routing": Scope.ADMIN,  # who hears of every incident of the project
    # -- what is logged
    "predictions": Scope.LOG,
    "labels": Scope.LABEL,
    "source": Scope.WRITE,  # with the right to log what it brings
    "lake": Scope.ADMIN,  # retention waits for it, and it takes the rows elsewhere
    "sink": Scope.ADMIN,  # it takes the rows of all models elsewhere
    "file": Scope.LOG,  # one that is looked at first; to confirm it needs what its rows need
    "import.cancel": Scope.WRITE,
    "import.remove": Scope.ADMIN,
    "failed_work": Scope.WRITE,  # to try it again
    # -- who and what is kept of them
    "token": Scope.ADMIN,
    "project": Scope.ADMIN,  # its name, and whether it is archived
    "member": Scope.ADMIN,  # with every scope of the role that they get
    "role": Scope.ADMIN,  # with every scope that it gets
    "team": Scope.ADMIN,  # who gets the e-mails of channels that name it
    "invitation": Scope.ADMIN,
    "subject": Scope.ADMIN,
    "audit": Scope.ADMIN,  # to read
}


def add_rights(thing: str, settings: "type[BaseModel]") -> None:
    """Require the scope among the annotations of a setting for a change of it."""
    for name, setting in settings.model_fields.items():
        [scope] = [mark for mark in setting.metadata if isinstance(mark, Scope)]
        SCOPE_OF[f"{thing}.{name}"] = scope
