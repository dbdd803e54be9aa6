"""Manifests: what the device should answer with, as the server signed it."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from driftline_agent.datatypes import DATATYPES
from driftline_agent.errors import ModelRefused
from driftline_agent.server.signatures import is_signed

MAX_ARTIFACT_BYTES = 4 << 30
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, V2 datatype and shape; -1 stands for a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ImageLayout:
    """How the one input holds images: NCHW, NHWC or NHW; black is `low`, and white is `high`."""

    layout: str
    low: float
    high: float


@dataclass(frozen=True)
class Signature:
    """What a version takes and gives: one tensor of all features, or one for each.

    Of an `image`, and of the output that is an embedding, a few numbers are kept.
    """

    features: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prediction_output: str | None
    probabilities_output: str | None
    classes: tuple[str, ...]
    missing: dict[str, str]
    image: ImageLayout | None = None
    embedding_output: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A version for this device; `generation` grows with every change of what its group gets."""

    device: str
    generation: int
    release: int
    model: str
    version: str
    sha256: str
    size: int
    signature: Signature
    expires_ms: int
    sampling: float
    """The share of rows that are sent as they are; the others are added up by the hour."""
    ask_below: float | None = None
    """The confidence below which the server is asked; None for never, as for a manifest of an earlier server."""
    ask_after_days: int | None = None
    released_ms: int = 0

    @property
    def asks_server(self) -> bool:
        """Whether the server may be asked at all."""
        return self.ask_below is not None or self.ask_after_days is not None

    def answers_like(self, other: "Manifest") -> bool:
        """Return whether the other version has the same file, and takes and gives the same."""
        return (self.sha256, self.signature) == (other.sha256, other.signature)


@dataclass(frozen=True)
class SignedManifest:
    """A manifest as text, and its signature (base64)."""

    manifest: str
    signature: str


def read_manifest(signed: SignedManifest, *, keys: Sequence[str], device: str) -> Manifest:
    """Read a manifest that one of these keys signed for this device; raises ModelRefused for every other one."""
    if not any(is_signed(signed.manifest, signed.signature, key) for key in keys):
        raise ModelRefused("the manifest was not signed by the server of the enrolment")
    try:
        manifest = _read(json.loads(signed.manifest))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRefused(f"the manifest cannot be read: {type(error).__name__} {error}"[:200]) from error
    if manifest.device != device:
        raise ModelRefused(f"the manifest is of the device {manifest.device}")
    return manifest


def check_current(manifest: Manifest, *, generation: int, now_ms: int) -> None:
    """Raise ModelRefused for a manifest that has ended, or that is older than one that was seen."""
    if manifest.generation < generation:
        raise ModelRefused(
            f"the manifest has generation {manifest.generation}, and {generation} was there before"
        )
    if manifest.expires_ms <= now_ms:
        raise ModelRefused("the manifest has ended; it is an old one, or the device's clock is wrong")


def _read(document: dict[str, Any]) -> Manifest:
    signature = document["signature"]
    features = tuple(feature["name"] for feature in signature["features"])
    width = len(features) if len(signature["inputs"]) == 1 else 1
    manifest = Manifest(
        device=str(document["device"]),
        generation=int(document["generation"]),
        release=int(document["release"]),
        model=str(document["model"]),
        version=str(document["version"]),
        sha256=str(document["sha256"]),
        size=int(document["size"]),
        signature=Signature(
            features=features,
            inputs=tuple(_with_width(_tensor(tensor), width) for tensor in signature["inputs"]),
            outputs=tuple(_tensor(tensor) for tensor in signature["outputs"]),
            prediction_output=signature["prediction_output"],
            probabilities_output=signature["probabilities_output"],
            classes=tuple(signature["classes"]),
            missing=dict(signature["missing"]),
            image=_optional(_image, signature.get("image")),
            embedding_output=_optional(str, signature.get("embedding_output")),
        ),
        expires_ms=_milliseconds(document["expires_at"]),
        sampling=float(document.get("sampling", 1.0)),
        ask_below=_optional(float, document.get("ask_below")),
        ask_after_days=_optional(int, document.get("ask_after_days")),
        released_ms=_milliseconds(document["released_at"]) if "released_at" in document else 0,
    )
    if not _SHA256.fullmatch(manifest.sha256) or not 0 < manifest.size <= MAX_ARTIFACT_BYTES:
        raise ValueError("sha256 or size is none")
    if not 0 <= manifest.sampling <= 1:
        raise ValueError("sampling is no share")
    return manifest


def _optional(kind: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else kind(value)


def _image(document: dict[str, Any]) -> ImageLayout:
    return ImageLayout(str(document["layout"]), float(document["low"]), float(document["high"]))


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _with_width(tensor: TensorSpec, columns: int) -> TensorSpec:
    """Declare the columns of the features of a table that leaves its width open, so that no request has others."""
    is_open = len(tensor.shape) == 2 and tensor.shape[1] == -1 and columns > 0
    return replace(tensor, shape=(tensor.shape[0], columns)) if is_open else tensor


def _tensor(tensor: dict[str, Any]) -> TensorSpec:
    if tensor["datatype"] not in DATATYPES:
        raise ValueError(f"{tensor['datatype']} is no datatype")
    return TensorSpec(tensor["name"], tensor["datatype"], tuple(tensor["shape"]))
