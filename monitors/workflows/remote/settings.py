"""What a workflow says of its pipeline: a kind, an address, the kind's options, and a secret that is kept encrypted."""

from collections.abc import Mapping
from typing import Any

from driftline.base.errors import invalid
from driftline.base.keys.secrets_at_rest import decrypt_optional
from driftline.base.outbound.secrecy import seal
from driftline.base.outbound.targets import check_target
from driftline.base.strict_json import escape_pointer
from monitors.workflows.models import Workflow
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.orchestrators.base import Option, Orchestrator, Pipeline

MAX_OPTION_LENGTH = 200
_AT = "/workflow/remote"


def check_remote(remote: Mapping[str, Any]) -> dict[str, str]:
    """Return a pipeline's settings as they are stored; raises `Problem` at the one that could never work."""
    if not remote:
        return {}
    kind = orchestrator_of(remote)
    known = {"kind", "url", *(option.name for option in kind.options)}
    if unknown := sorted(set(remote) - known):
        raise invalid(
            f"{_AT}/{escape_pointer(unknown[0])}",
            f"{unknown[0][:64]!r} is no setting of {kind.title}; use {', '.join(sorted(known))}.",
            "unknown_field",
        )
    target = check_target(_text(remote, "url", kind.url), f"{_AT}/url")
    options = {option.name: _option(remote, option) for option in kind.options}
    return {
        "kind": remote["kind"],
        "url": target.url.rstrip("/"),
        **{name: value for name, value in options.items() if value},
    }


def orchestrator_of(remote: Mapping[str, Any]) -> Orchestrator:
    """Return the service of a pipeline's settings; raises `Problem` where there is none of that kind."""
    kind = remote.get("kind")
    if not isinstance(kind, str) or kind not in ORCHESTRATORS:
        raise invalid(
            f"{_AT}/kind",
            f"{str(kind)[:64]!r} is no kind of pipeline; use one of {', '.join(ORCHESTRATORS)}.",
        )
    return ORCHESTRATORS[kind]


def set_pipeline(workflow: Workflow, remote: Mapping[str, Any], secret: object) -> dict[str, str]:
    """Check a pipeline's settings and return them as they are stored; its secret is sealed in the workflow.

    Without a secret (None), one that is stored stays for the same pipeline, and is never sent to another. Raises
    Problem.
    """
    stored = check_remote(remote)
    if secret is not None:
        workflow.remote_secret = seal_secret(secret, stored)
    elif not is_same_receiver(stored, workflow.remote):
        workflow.remote_secret = b""
    return stored


def seal_secret(secret: object, remote: Mapping[str, Any]) -> bytes:
    """Encrypt a pipeline's secret, without the blanks around it; an empty one is none.

    Raises `Problem` for one that could never work.
    """
    pointer = "/workflow/remote_secret"
    sealed = seal(secret, pointer)
    if sealed and not remote:
        raise invalid(pointer, "There is no pipeline that the secret could be of; send `remote` too.")
    if sealed and (fault := orchestrator_of(remote).fault_in_secret(str(secret).strip())):
        raise invalid(pointer, fault)
    return sealed


def is_same_receiver(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether a secret of one pipeline may be sent to the other: it must never reach another address."""
    return all(one.get(name) == other.get(name) for name in ("kind", "url"))


def pipeline_of(remote: Mapping[str, Any], workflow: Workflow) -> Pipeline:
    """Return how a pipeline is called, with the workflow's secret where that is of the same one.

    Raises `SecretUnreadable`.
    """
    sealed = bytes(workflow.remote_secret) if is_same_receiver(remote, workflow.remote) else b""
    options = {name: value for name, value in remote.items() if name not in ("kind", "url")}
    return Pipeline(url=remote["url"], options=options, secret=decrypt_optional(sealed))


def _option(remote: Mapping[str, Any], option: Option) -> str:
    if option.name not in remote and not option.is_required:
        return ""
    return _text(remote, option.name, f"{option.title}, such as {option.example}", option.is_required)


def _text(remote: Mapping[str, Any], name: str, what: str, is_required: bool = True) -> str:
    value = remote.get(name, "")
    is_text = isinstance(value, str) and (name == "url" or len(value) <= MAX_OPTION_LENGTH)
    if not is_text or not value.isprintable() or (is_required and not value.strip()):
        raise invalid(f"{_AT}/{name}", f"{name} is {str(value)[:64]!r}; use {what}.")
    return str(value).strip()
