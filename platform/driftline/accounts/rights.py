"""Who may change what: the one table of it, which the API, the pages and their templates read.

`SCOPE_OF` says which scope each thing needs, `ROLE_SCOPES` which scopes a person's role has. What a program's token may
do is therefore what a person with the same scopes may do, on whichever way they come.
"""

from collections.abc import Collection, Mapping

from driftline.accounts.models import SCOPES, Role
from driftline.common.errors import FieldFault, Problem

ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    Role.VIEWER: frozenset({"read"}),
    Role.EDITOR: frozenset({"read", "log", "label", "backfill", "write"}),
    Role.ADMIN: frozenset(SCOPES),
}

SCOPE_OF: Mapping[str, str] = {
    # -- a model; what decides whether a version is deployed without a person needs `deploy`
    "model": "write",  # making one, which may have a description and objectives from the start
    "model.name": "write",
    "model.task": "write",
    "model.description": "write",
    "model.schema_policy": "write",
    "model.segments": "write",
    "model.autonomy": "deploy",
    "model.workflow": "deploy",
    "model.objectives": "deploy",  # the gate of promotions reads them
    "model.privacy": "admin",  # these destroy data, or stop keeping it
    "model.rows_kept": "admin",
    "model.retention_days": "admin",
    "model.summary_retention_days": "admin",
    # -- what is deployed
    "version": "deploy",  # the first one becomes champion; also where it runs, and its quarantine
    "version.artifact": "deploy",
    "variants": "write",
    "variant.register": "deploy",
    "deployment": "deploy",  # its champion, canary and shadows
    "alias": "deploy",
    "run": "deploy",
    # -- what is watched
    "reference": "write",
    "expectation": "write",
    "segment": "write",
    "segment_search": "write",
    "report": "write",
    "rule": "write",
    "rule.retrain": "deploy",  # a rule that starts runs, whatever of it changes
    "incident": "write",
    "silence": "write",
    "silence.all_models": "admin",
    "channel": "write",
    "delivery": "write",
    # -- what is logged
    "predictions": "log",
    "labels": "label",
    "import.cancel": "write",
    "failed_work": "write",  # to try it again
    # -- who and what is kept of them
    "token": "admin",
    "subject": "admin",
    "audit": "admin",  # to read
}


def check_rights(scopes: Collection[str], changed: Mapping[str, str], *, actor: str) -> None:
    """Raise Problem 403 where a thing needs a scope that is not among `scopes`.

    `changed` holds the things, keys of `SCOPE_OF`, by the JSON pointers of the fields that change them. The first
    missing scope is named in the sentence, in the header of RFC 6750, and in the code of each field's fault.
    """
    missing = {
        pointer: SCOPE_OF[thing] for pointer, thing in changed.items() if SCOPE_OF[thing] not in scopes
    }
    if missing:
        raise insufficient_scope(scopes, missing, actor=actor)


def insufficient_scope(scopes: Collection[str], missing: Mapping[str, str], *, actor: str) -> Problem:
    """Make the refusal for the fields that need a `missing` scope; the pointer "" stands for the whole request."""
    scope = next(iter(missing.values()))
    names = ", ".join(pointer.strip("/") for pointer, needed in missing.items() if needed == scope)
    what = f"Changing {names}" if names else "This"
    return Problem(
        403,
        "insufficient_scope",
        f"{what} needs the scope '{scope}'; {actor} has {', '.join(sorted(scopes)) or 'none'}.",
        [
            FieldFault(pointer, f"needs_scope_{needed}", f"This needs the scope '{needed}'.")
            for pointer, needed in missing.items()
            if pointer
        ],
        headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
    )
