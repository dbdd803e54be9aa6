"""The check of what a caller or a visitor may change; `scopes.py` has the table."""

from collections.abc import Collection, Mapping

from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import FieldFault, Problem


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


def insufficient_scope(scopes: Collection[str], missing: Mapping[str, Scope], *, actor: str) -> Problem:
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
