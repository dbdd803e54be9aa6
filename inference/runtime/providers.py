"""Execution providers: which ones there are, and proof of where a model's nodes really run."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
from msgspec import Struct

from inference.runtime.session import (
    MAX_RUN_SECONDS,
    Array,
    ModelRefused,
    OnnxSession,
    first_line,
    new_options,
    time_limit,
)

CPU = "cpu"
_ENDING = "ExecutionProvider"
PROVIDERS: dict[str, str] = {
    name.removesuffix(_ENDING).lower(): name for name in sorted(ort.get_all_providers())
}
"""ONNX Runtime's providers by the names that callers use: "cpu", "cuda", "tensorrt", "openvino", "coreml", ..."""


class Execution(Struct, frozen=True):
    """The provider that was asked for, the one that runs, and why it is another.

    `nodes` counts the model's nodes by provider, as a profiled run placed them; empty where only cpu was asked for.
    """

    asked: str
    used: str
    fallback: str | None = None
    nodes: dict[str, int] = {}


def open_with_provider(
    model: bytes, provider: str, example: dict[str, Array], outputs: Sequence[str]
) -> tuple[OnnxSession, Execution]:
    """Load a model for the provider asked for, or for the CPU with the reason why.

    A provider counts as used only when the session lists it first and a profiled run of `example` put at least
    one node on it: a build may list a provider that has no device, or that takes no node of this model.
    """
    if provider == CPU:
        return OnnxSession(model), Execution(CPU, CPU)
    try:
        session = OnnxSession(model, _available(provider))
        nodes = _placed_nodes(model, provider, example, outputs)
        _check_used(session, provider, nodes)
    except _NotUsed as reason:
        return OnnxSession(model), Execution(provider, CPU, str(reason), reason.nodes)
    except ModelRefused as error:
        session = OnnxSession(model)  # refused here too where the model itself is at fault
        return session, Execution(provider, CPU, str(error))
    return session, Execution(provider, provider, None, nodes)


class _NotUsed(Exception):
    """The provider cannot be used; the text says why."""

    def __init__(self, reason: str, nodes: dict[str, int] | None = None) -> None:
        super().__init__(reason)
        self.nodes = nodes or {}


def _available(provider: str) -> str:
    name = PROVIDERS.get(provider)
    offered = ort.get_available_providers()
    if name is None or name not in offered:
        names = ", ".join(sorted(offer.removesuffix(_ENDING).lower() for offer in offered))
        raise _NotUsed(
            f"The ONNX Runtime that is installed here has no provider {provider!r}; it has {names}."
        )
    return name


def _placed_nodes(
    model: bytes, provider: str, example: dict[str, Array], outputs: Sequence[str]
) -> dict[str, int]:
    """Run the example once with a profile and count the nodes that ran, by provider."""
    with tempfile.TemporaryDirectory() as folder:
        options = new_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        session = OnnxSession(model, PROVIDERS[provider], options)
        try:
            with time_limit(MAX_RUN_SECONDS) as run_options:
                session.run(example, outputs, run_options)
        except Exception as error:
            raise _NotUsed(f"A run on {provider!r} failed: {first_line(error)}") from error
        finally:
            profile = Path(session.end_profile())
        events = json.loads(profile.read_text())
    placed = {
        (event["name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(Counter(provider.removesuffix(_ENDING).lower() for _, provider in placed))


def _check_used(session: OnnxSession, provider: str, nodes: dict[str, int]) -> None:
    if session.providers[0] != PROVIDERS[provider]:
        raise _NotUsed(f"ONNX Runtime gave {session.providers[0]} in place of {provider!r}.", nodes)
    if not nodes.get(provider):
        raise _NotUsed(f"{provider!r} takes none of the model's nodes; all of them run elsewhere.", nodes)
