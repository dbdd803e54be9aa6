"""The first questions to another server, before it answers for anybody: what it says of itself, and what it answers."""

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.outbound.rules import OutboundRules
from inference.protocol.v2.tensors import NUMPY_TYPES
from inference.registry.endpoints.names import adopt
from inference.registry.endpoints.schemas import MAX_TENSORS
from inference.registry.intake.errors import IntakeRefused, shown
from inference.registry.intake.limits import SampledReference
from inference.registry.intake.metadata import UploadMetadata, declare
from inference.registry.intake.report import DryRun, Fill, ObservedOutput, ReferenceRun
from inference.registry.intake.runs.made_up_rows import Array, fills_of, make_up, observe, with_columns
from inference.registry.intake.runs.reference import run_on_reference
from inference.registry.intake.signature import derive_signature
from inference.runtime.remote.errors import UpstreamFailed, ValuesRefused
from inference.runtime.remote.session import RemoteSession
from inference.runtime.remote.v2 import model_path, read_metadata, takes_binary
from inference.runtime.session import ModelRefused
from inference.signatures import EndpointSpec, Signature, TensorSpec

PROBE_MS = 5_000  # the most that one question of a probe may take
ONLY_INPUT = "inputs"
_ROW_SHAPES = {"float": "FP32", "int": "INT64", "bool": "BOOL", "string": "BYTES"}


class Asked(Struct, frozen=True):
    """What is known before the first question: `endpoint` with its credential, and tensors where they were told.

    `known` is the signature of the version that answers now, whose names are kept where the tensors are the same.
    """

    endpoint: EndpointSpec
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    metadata: UploadMetadata
    task: str
    known: Signature | None
    home: Path
    rules: OutboundRules


class ProbedModel(Struct):
    """What was seen of the other server's model."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    observed: dict[str, ObservedOutput]
    class_labels: dict[str, list[str]] = {}


class EndpointReport(Struct, frozen=True):
    """A passed probe: the other server answered rows with this signature."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    signature: Signature
    binary: bool
    dry_runs: list[DryRun]
    reference: ReferenceRun | None
    warnings: list[str]
    duration_ms: float
    reference_sha256: str | None = None


def probe(asked: Asked, reference: SampledReference | None) -> tuple[EndpointSpec, EndpointReport]:
    """Ask another server for a few rows; give the endpoint with what was learnt of it, and the report.

    Raises IntakeRefused, with a pointer below /endpoint where the fault lies there. A server that says nothing
    is given up after PROBE_MS.
    """
    began = time.perf_counter()
    limited = msgspec.structs.replace(asked.endpoint, timeout_ms=min(asked.endpoint.timeout_ms, PROBE_MS))
    endpoint, inputs, outputs = _find_tensors(asked, limited)
    session = _session(asked, endpoint, inputs, outputs)
    columns = len(asked.metadata.features) or None
    specs = [with_columns(spec, columns if len(inputs) == 1 else None) for spec in inputs]
    runs, observed = _rehearse(session, specs, outputs)
    metadata = _complete(asked, inputs, outputs)
    signature, warnings = derive_signature(ProbedModel(inputs, outputs, observed), metadata, task=asked.task)
    run = None
    if reference is not None:
        run = run_on_reference(
            lambda batch: session.run(batch, []),
            str,
            signature.inputs,
            [spec.name for spec in outputs],
            [feature.name for feature in signature.features],
            signature.missing,
            reference.rows,
        )
    report = EndpointReport(
        inputs=inputs,
        outputs=outputs,
        signature=signature,
        binary=endpoint.binary,
        dry_runs=runs,
        reference=run,
        warnings=[*warnings, *_warnings(runs, observed, run)],
        duration_ms=round((time.perf_counter() - began) * 1e3, 1),
        reference_sha256=reference.sha256 if reference else None,
    )
    return msgspec.structs.replace(endpoint, timeout_ms=asked.endpoint.timeout_ms), report


# -- tensors -----------------------------------------------------------------------------------------------------------
def _find_tensors(
    asked: Asked, endpoint: EndpointSpec
) -> tuple[EndpointSpec, list[TensorSpec], list[TensorSpec]]:
    """Find the tensors: as told, by the server's metadata, or by an answer to one made-up row."""
    told_inputs: list[TensorSpec] = []
    told_outputs: list[TensorSpec] = []
    if endpoint.protocol == "v2":
        endpoint, told_inputs, told_outputs = _ask_metadata(asked, endpoint)
    known = asked.known
    inputs, names = asked.inputs, dict(endpoint.names)
    if not inputs and told_inputs:
        inputs, theirs = adopt(told_inputs, known.inputs if known else [], by_json=False)
        names |= theirs
    inputs = inputs or _inputs_by_features(asked)
    endpoint = msgspec.structs.replace(endpoint, names=names)
    outputs = asked.outputs
    if not outputs:
        by_json = endpoint.protocol != "v2"
        found = told_outputs or _outputs_by_answer(asked, endpoint, inputs)
        outputs, theirs = adopt(found, known.outputs if known else [], by_json=by_json)
        endpoint = msgspec.structs.replace(endpoint, names=names | theirs)
    return endpoint, inputs, outputs


def _ask_metadata(
    asked: Asked, endpoint: EndpointSpec
) -> tuple[EndpointSpec, list[TensorSpec], list[TensorSpec]]:
    session = _session(asked, endpoint, [], [])
    try:
        inputs, outputs = read_metadata(session.get(model_path(endpoint)))
        binary = takes_binary(session.get("/v2"))
    except (UpstreamFailed, ValuesRefused) as failure:
        raise refused(failure) from failure
    _check_told([*inputs, *outputs])
    free = [TensorSpec(spec.name, spec.datatype, [-1, *spec.shape[1:]]) for spec in outputs]
    return msgspec.structs.replace(endpoint, binary=binary), inputs, free


def _check_told(tensors: list[TensorSpec]) -> None:
    """Refuse metadata that no signature can hold."""
    if len(tensors) > MAX_TENSORS:
        raise IntakeRefused(
            "unsupported_input",
            422,
            f"The server's model has {len(tensors)} tensors; {MAX_TENSORS} is the most.",
        )
    for spec in tensors:
        if not 1 <= len(spec.name) <= 200 or not spec.name.isprintable():
            raise IntakeRefused("invalid_text", 422, f"The tensor name {shown(spec.name)} will not do.")
        if spec.datatype not in (*NUMPY_TYPES, "BYTES"):
            raise IntakeRefused(
                "unsupported_datatype",
                422,
                f"The tensor {shown(spec.name)} is {shown(spec.datatype)}; use numbers, BOOL or BYTES.",
            )


def _complete(asked: Asked, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> UploadMetadata:
    """Take what was not told from the version that answers now, where its tensors are the same."""
    metadata = asked.metadata
    if asked.known is None:
        return metadata
    before = declare(asked.known)
    if not metadata.features and inputs == asked.known.inputs:
        metadata = msgspec.structs.replace(
            metadata,
            features=before.features,
            missing=before.missing,
            image=metadata.image or before.image,
        )
    if not metadata.classes and outputs == asked.known.outputs:
        metadata = msgspec.structs.replace(
            metadata, outputs=before.outputs, classes=before.classes, positive_class=before.positive_class
        )
    return metadata


def _inputs_by_features(asked: Asked) -> list[TensorSpec]:
    """Make the inputs up where nobody tells: the champion's, one table of numbers, or one input a feature."""
    features = asked.metadata.features
    if asked.known is not None and [one.name for one in features] in (
        [],
        [one.name for one in asked.known.features],
    ):
        return asked.known.inputs
    if not features:
        raise IntakeRefused(
            "invalid_metadata",
            422,
            "The server does not tell what the model takes; name its features, or its tensors in endpoint.inputs.",
            "/metadata/features",
        )
    if all(feature.type in (None, "float") for feature in features):
        return [TensorSpec(ONLY_INPUT, "FP32", [-1, len(features)])]
    return [TensorSpec(one.name, _ROW_SHAPES[one.type or "float"], [-1, 1]) for one in features]


def _outputs_by_answer(asked: Asked, endpoint: EndpointSpec, inputs: list[TensorSpec]) -> list[TensorSpec]:
    columns = len(asked.metadata.features) or None
    specs = [with_columns(spec, columns if len(inputs) == 1 else None) for spec in inputs]
    try:
        found = _session(asked, endpoint, inputs, []).probe(
            {spec.name: make_up(spec, 1, "typical") for spec in specs}
        )
    except (UpstreamFailed, ValuesRefused) as failure:
        raise refused(failure) from failure
    return found if endpoint.protocol == "v2" else [_as_number(spec, asked.task) for spec in found]


def _as_number(spec: TensorSpec, task: str) -> TensorSpec:
    """Take whole numbers for numbers where they are no labels: JSON does not tell 1.0 from 1."""
    is_label = task in ("binary", "multiclass") and spec.shape[1:] in ([], [1])
    if spec.datatype != "INT64" or is_label:
        return spec
    return TensorSpec(spec.name, "FP64", spec.shape)


def _session(
    asked: Asked, endpoint: EndpointSpec, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> RemoteSession:
    try:
        return RemoteSession(endpoint, inputs, outputs, home=asked.home, rules=asked.rules)
    except ModelRefused as error:  # its credential cannot be opened
        raise IntakeRefused("credential_unreadable", 422, str(error), "/endpoint/token") from error


# -- answers -----------------------------------------------------------------------------------------------------------
def _rehearse(
    session: RemoteSession, specs: list[TensorSpec], outputs: list[TensorSpec]
) -> tuple[list[DryRun], dict[str, ObservedOutput]]:
    """Run 1 and 3 rows of each fill; what fails on ordinary values is refused, the rest is told in the report."""
    runs: list[DryRun] = []
    observed: dict[str, ObservedOutput] = {}
    for fill in fills_of(specs):
        for rows in (1, 3):
            run, answers = _run(session, {spec.name: make_up(spec, rows, fill) for spec in specs}, rows, fill)
            runs.append(run)
            if fill == "typical" and rows == 3:
                observed = {spec.name: observe(values) for spec, values in zip(outputs, answers, strict=True)}
    return runs, observed


def _run(session: RemoteSession, feed: dict[str, Array], rows: int, fill: Fill) -> tuple[DryRun, list[Array]]:
    began = time.perf_counter()
    answers: list[Array] = []
    error = None
    try:
        answers = session.run(feed, [])
    except (UpstreamFailed, ValuesRefused) as failure:
        if fill == "typical":
            raise refused(failure) from failure
        error = str(failure)
    return DryRun(rows, fill, round((time.perf_counter() - began) * 1e3, 3), error), answers


def _warnings(
    runs: list[DryRun], observed: dict[str, ObservedOutput], reference: ReferenceRun | None
) -> list[str]:
    words = {"missing": "missing numbers (NaN)", "unseen": "unseen categories"}
    failed = {run.fill: run.error for run in runs if run.error}
    warnings = [f"The server does not answer {words[fill]}: {error}" for fill, error in failed.items()]
    warnings += [
        f"The output '{name}' is not finite on rows of zeros."
        for name, seen in observed.items()
        if not seen.finite
    ]
    if reference is not None and reference.error:
        warnings.append(f"The server fails on rows of the reference: {reference.error}")
    return warnings


def refused(failure: UpstreamFailed | ValuesRefused) -> IntakeRefused:
    """Return what another server did in place of answering, at the part of the request that can mend it."""
    kind = failure.kind if isinstance(failure, UpstreamFailed) else "refused"
    pointer = {
        "unreachable": "/endpoint/url",
        "blocked": "/endpoint/url",
        "timeout": "/endpoint/url",
        "credential": "/endpoint/token",
        "unknown_model": "/endpoint/model",
    }.get(kind, "/endpoint")
    code = {
        "refused": "endpoint_refuses_rows",
        "garbage": "endpoint_answers_garbage",
        "unknown_model": "unknown_upstream_model",
    }.get(kind, "endpoint_failed")
    return IntakeRefused(code, 422, shown_sentence(failure), pointer)


def shown_sentence(failure: Exception) -> str:
    """Return a failure's sentence; what the other server says in it is cut."""
    text = str(failure)
    return text if len(text) <= 400 else shown(text, 400)
