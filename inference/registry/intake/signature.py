"""Derive a version's signature from what the graph shows and what the uploader says. Pure, runs in the caller."""

import math
from collections.abc import Mapping
from typing import Protocol

from inference.image_names import image_parts
from inference.registry.intake.errors import IntakeRefused, shown
from inference.registry.intake.metadata import ImageDeclaration, UploadMetadata
from inference.registry.intake.report import ObservedOutput
from inference.signatures import CHANNEL_AXES, Feature, ImageSpec, Signature, TensorSpec
from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION, part_names

LABEL_NAMES = ("label", "output_label")
PROBABILITY_NAMES = ("probabilities", "output_probability")
NUMBER_NAMES = ("variable", "prediction")
MAX_CHANNELS = 64  # of an image with fixed channels: more are rows or columns of another layout
_FEATURE_TYPES = {
    "BYTES": ("string",),
    "BOOL": ("bool",),
    "INT": ("int", "bool"),
    "FP": ("float", "int", "bool"),
}


class SeenModel(Protocol):
    """What was seen of a model: its tensors, the class labels that it names itself, and its answer to three rows."""

    @property
    def inputs(self) -> list[TensorSpec]: ...

    @property
    def outputs(self) -> list[TensorSpec]: ...

    @property
    def class_labels(self) -> Mapping[str, list[str]]: ...

    @property
    def observed(self) -> Mapping[str, ObservedOutput]: ...


def derive_signature(
    findings: SeenModel, metadata: UploadMetadata, *, task: str
) -> tuple[Signature, list[str]]:
    """Return the signature and warnings; what does not fit raises `IntakeRefused` with a pointer.

    `task` is the model's: binary, multiclass, regression or ranking.
    """
    warnings: list[str] = []
    inputs, features = _inputs_and_features(findings.inputs, metadata, warnings)
    _check_rows_have_one_size(inputs)
    image = _image(inputs, metadata.image)
    if task in ("binary", "multiclass"):
        prediction, probabilities = _classifier_outputs(findings, metadata)
        _check_one_value_a_row(findings, prediction)
        classes = _classes(findings, metadata, prediction, probabilities, task)
        _check_probabilities(findings, probabilities, classes, warnings)
    else:
        prediction, probabilities, classes = _number_output(findings, metadata), None, []
        _check_one_value_a_row(findings, prediction)
    signature = Signature(
        features=features,
        inputs=inputs,
        outputs=findings.outputs,
        prediction_output=prediction,
        probabilities_output=probabilities,
        classes=classes,
        positive_class=_positive_class(metadata, classes, task),
        missing=_missing(metadata, features),
        task=task,
        embedding_output=_embedding(findings, metadata, _logged_names(inputs, features, image)),
        image=image,
    )
    return signature, warnings


def _inputs_and_features(
    inputs: list[TensorSpec], metadata: UploadMetadata, warnings: list[str]
) -> tuple[list[TensorSpec], list[Feature]]:
    _check_rows_are_free(inputs)
    if len(inputs) == 1 and len(inputs[0].shape) > 2:
        if metadata.features:
            raise _incompatible(
                f"The input {shown(inputs[0].name)} has rank {len(inputs[0].shape)} and no columns to name; "
                "leave features out.",
                "/features",
            )
        if metadata.image is None:
            warnings.append(
                f"The input {shown(inputs[0].name)} is no table: its values are not logged as columns. Where it holds "
                "images, say so in image, and their brightness, contrast and sharpness are."
            )
        return inputs, []
    if len(inputs) == 1:
        return _table_features(inputs[0], metadata, warnings)
    return _features_by_input(inputs, metadata)


def _check_rows_are_free(inputs: list[TensorSpec]) -> None:
    if not inputs:
        raise _unsupported_input("The model has no inputs; a prediction needs at least one.")
    for spec in inputs:
        if not spec.shape or spec.shape[0] != -1:
            raise _unsupported_input(
                f"The input {shown(spec.name)} has the fixed shape {spec.shape}; export the model with a "
                "variable first dimension, the number of rows."
            )


def _check_rows_have_one_size(inputs: list[TensorSpec]) -> None:
    """Refuse rows of any size, such as images with a free height: serving puts rows of several requests together."""
    for spec in inputs:
        if free := [place for place, size in enumerate(spec.shape[1:], 1) if size < 0]:
            places = " and ".join(str(place) for place in free)
            raise _unsupported_input(
                f"The input {shown(spec.name)} of shape {spec.shape} leaves the size of dimension {places} open, and "
                "rows of several sizes cannot be served together; export the model with all sizes fixed but the number "
                "of rows."
            )


def _table_features(
    tensor: TensorSpec, metadata: UploadMetadata, warnings: list[str]
) -> tuple[list[TensorSpec], list[Feature]]:
    """Name the columns of the one input tensor."""
    declared = metadata.features
    width = tensor.shape[1] if len(tensor.shape) == 2 else 1
    if width == -1 and not declared:
        raise _invalid(
            f"The input {shown(tensor.name)} does not say how many columns it has; name them in features.",
            "/features",
        )
    if width == -1:
        width = len(declared)
        tensor = TensorSpec(tensor.name, tensor.datatype, [-1, width])
    if not declared:
        names = [tensor.name] if width == 1 else [f"f{place}" for place in range(width)]
        if width > 1:
            warnings.append(
                f"The columns have no names; they are called f0 to f{width - 1}. Name them in features."
            )
        return [tensor], [Feature(name, _default_type(tensor)) for name in names]
    if len(declared) != width:
        raise _incompatible(
            f"{len(declared)} features are named and the input {shown(tensor.name)} has {width} columns; "
            "name each column once, in order.",
            "/features",
        )
    return [tensor], [_feature(metadata, place, tensor) for place in range(width)]


def _features_by_input(
    inputs: list[TensorSpec], metadata: UploadMetadata
) -> tuple[list[TensorSpec], list[Feature]]:
    """Match features and inputs by name; features keep the order in which they were declared."""
    for spec in inputs:
        if spec.shape[1:] not in ([1], [-1], []):
            raise _incompatible(
                f"The model has {len(inputs)} inputs, and {shown(spec.name)} has shape {spec.shape}; convert "
                "it with one input of shape [-1, 1] a feature, or with one tensor for all."
            )
    fixed = [TensorSpec(spec.name, spec.datatype, [-1, 1] if spec.shape[1:] else [-1]) for spec in inputs]
    if not metadata.features:
        return fixed, [Feature(spec.name, _default_type(spec)) for spec in fixed]
    by_name = {spec.name: spec for spec in fixed}
    for place, declared in enumerate(metadata.features):
        if declared.name not in by_name:
            raise _incompatible(
                f"The model has no input {shown(declared.name)}; its inputs are {_listed(list(by_name))}.",
                f"/features/{place}/name",
            )
    unnamed = by_name.keys() - {declared.name for declared in metadata.features}
    if unnamed:
        raise _incompatible(
            f"The model also takes {_listed(sorted(unnamed))}; name them in features.", "/features"
        )
    features = [
        _feature(metadata, place, by_name[declared.name]) for place, declared in enumerate(metadata.features)
    ]
    return fixed, features


def _feature(metadata: UploadMetadata, place: int, tensor: TensorSpec) -> Feature:
    declared = metadata.features[place]
    allowed = _allowed_types(tensor)
    if declared.type is not None and declared.type not in allowed:
        raise _incompatible(
            f"The feature {shown(declared.name)} is called {declared.type} and the model takes "
            f"{tensor.datatype} there; use {' or '.join(allowed)}.",
            f"/features/{place}/type",
        )
    return Feature(declared.name, declared.type or _default_type(tensor))


def _allowed_types(tensor: TensorSpec) -> tuple[str, ...]:
    return next(
        (types for prefix, types in _FEATURE_TYPES.items() if tensor.datatype.startswith(prefix)),
        ("int", "bool"),
    )


def _default_type(tensor: TensorSpec) -> str:
    return _allowed_types(tensor)[0]


def _classifier_outputs(findings: SeenModel, metadata: UploadMetadata) -> tuple[str | None, str | None]:
    """Find the label and the probabilities: as declared, by the converters' names, or the only one there is."""
    prediction = _named(findings, metadata.outputs.prediction, LABEL_NAMES, "/outputs/prediction")
    probabilities = _named(
        findings, metadata.outputs.probabilities, PROBABILITY_NAMES, "/outputs/probabilities"
    )
    if prediction is None and probabilities is None and len(findings.outputs) == 1:
        only = findings.outputs[0]
        if only.datatype.startswith("FP") and len(only.shape) == 2:
            return None, only.name
        return only.name, None
    if prediction is None and probabilities is None:
        raise _invalid(
            f"Which output is the prediction? The model has {_outputs_listed(findings)}; name prediction and "
            "probabilities in outputs.",
            "/outputs",
        )
    if probabilities is not None and not _spec(findings, probabilities).datatype.startswith("FP"):
        raise _incompatible(
            f"The output {shown(probabilities)} is {_spec(findings, probabilities).datatype}; probabilities are "
            "floats.",
            "/outputs/probabilities",
        )
    return prediction, probabilities


def _number_output(findings: SeenModel, metadata: UploadMetadata) -> str:
    if metadata.outputs.probabilities is not None or metadata.classes:
        pointer = "/classes" if metadata.classes else "/outputs/probabilities"
        raise _incompatible("The model predicts numbers: it has neither classes nor probabilities.", pointer)
    name = _named(findings, metadata.outputs.prediction, NUMBER_NAMES, "/outputs/prediction")
    if name is None and len(findings.outputs) == 1:
        name = findings.outputs[0].name
    if name is None:
        raise _invalid(
            f"Which output is the prediction? The model has {_outputs_listed(findings)}; name it in outputs.",
            "/outputs/prediction",
        )
    if _spec(findings, name).datatype in ("BYTES", "BOOL"):
        raise _incompatible(
            f"The output {shown(name)} is {_spec(findings, name).datatype} and the model predicts numbers.",
            "/outputs/prediction",
        )
    return name


def _named(findings: SeenModel, declared: str | None, usual: tuple[str, ...], pointer: str) -> str | None:
    names = [spec.name for spec in findings.outputs]
    if declared is not None and declared not in names:
        raise _incompatible(
            f"The model has no output {shown(declared)}; it has {_outputs_listed(findings)}.", pointer
        )
    return declared or next((name for name in usual if name in names), None)


def _classes(
    findings: SeenModel,
    metadata: UploadMetadata,
    prediction: str | None,
    probabilities: str | None,
    task: str,
) -> list[str]:
    """Take the classes from the metadata, which the graph's must equal, or from the graph."""
    known = findings.class_labels
    in_graph = known.get(prediction or "") or known.get(probabilities or "") or []
    classes = metadata.class_texts or in_graph
    if len(classes) < 2:
        raise _invalid(
            "The graph does not name its classes; list them in classes, in the order of the probability columns.",
            "/classes",
        )
    if in_graph and classes != in_graph:
        raise _incompatible(
            f"The classes are {_listed(classes)} in the metadata and {_listed(in_graph)} in the graph; "
            "use the graph's, in its order, or leave classes out.",
            "/classes",
        )
    if task == "binary" and len(classes) != 2:
        raise _incompatible(
            f"The model is binary and the upload has {len(classes)} classes: {_listed(classes)}.", "/classes"
        )
    return classes


def _check_probabilities(
    findings: SeenModel, probabilities: str | None, classes: list[str], warnings: list[str]
) -> None:
    if probabilities is None:
        warnings.append("The model gives no probabilities: AUC, log loss and estimates cannot be computed.")
        return
    seen = findings.observed.get(probabilities)
    shape = seen.shape if seen else _spec(findings, probabilities).shape
    width = shape[1] if len(shape) == 2 else 1 if len(shape) == 1 else -1
    if len(shape) > 2 or (width != -1 and width != len(classes) and not (width == 1 and len(classes) == 2)):
        raise _incompatible(
            f"The output {shown(probabilities)} has shape {[-1, *shape[1:]]} and there are {len(classes)} classes; "
            "give one column a class.",
            "/classes",
        )
    if seen and width > 1 and seen.finite and not seen.sums_to_one:
        warnings.append(
            f"The rows of {shown(probabilities)} do not sum to 1: are they scores? Export probabilities."
        )


def _check_one_value_a_row(findings: SeenModel, prediction: str | None) -> None:
    if prediction is None:
        return
    seen = findings.observed.get(prediction)
    if seen is not None and seen.shape not in ([3], [3, 1]):
        raise _incompatible(
            f"The output {shown(prediction)} has shape {seen.shape} for 3 rows; a prediction is one value a row.",
            "/outputs/prediction",
        )


def _image(inputs: list[TensorSpec], declared: ImageDeclaration | None) -> ImageSpec | None:
    """Return how the one input holds images, with the range that its datatype usually has where none is declared."""
    if declared is None:
        return None
    spec, layout = inputs[0], declared.layout
    is_number = spec.datatype.startswith(("FP", "INT", "UINT"))
    if len(inputs) > 1 or not is_number or len(spec.shape) != len(layout):
        raise _incompatible(
            f"The input {shown(spec.name)} is {spec.datatype} of shape {spec.shape}; images of the layout {layout} are "
            f"the only input, numbers of rank {len(layout)}.",
            "/image/layout",
        )
    axis = CHANNEL_AXES[layout]
    if axis is not None and spec.shape[axis] > MAX_CHANNELS:
        raise _incompatible(
            f"In the layout {layout} the input {shown(spec.name)} of shape {spec.shape} would have {spec.shape[axis]} "
            f"channels, and {MAX_CHANNELS} is the most; is it {'NHWC' if axis == 1 else 'NCHW'}?",
            "/image/layout",
        )
    low, high = declared.range or ((0.0, 1.0) if spec.datatype.startswith("FP") else (0.0, 255.0))
    if not (math.isfinite(high - low) and low < high):
        raise _invalid(
            "The range has the value of black and the larger one of white, such as [0, 255].", "/image/range"
        )
    return ImageSpec(layout, low, high)


def _logged_names(inputs: list[TensorSpec], features: list[Feature], image: ImageSpec | None) -> list[str]:
    """Name the columns that are logged of the input."""
    return [feature.name for feature in features] + (image_parts(inputs[0].name) if image else [])


def _embedding(findings: SeenModel, metadata: UploadMetadata, taken: list[str]) -> str | None:
    """Return the output of one vector a row, which is logged under its own name."""
    name = _named(findings, metadata.outputs.embedding, (), "/outputs/embedding")
    if name is None:
        return None
    spec, seen = _spec(findings, name), findings.observed.get(name)
    shape = seen.shape if seen else spec.shape
    width = shape[1] if len(shape) == 2 else 0
    if not spec.datatype.startswith("FP") or not MIN_DIMENSION <= width <= MAX_DIMENSION:
        raise _incompatible(
            f"The output {shown(name)} is {spec.datatype} of shape {[-1, *shape[1:]]}; an embedding is floats of shape "
            f"[-1, d] with d from {MIN_DIMENSION} to {MAX_DIMENSION:,}.",
            "/outputs/embedding",
        )
    if clash := next((one for one in (name, *part_names(name, width)) if one in taken), None):
        raise _incompatible(
            f"The embedding {shown(name)} is logged beside the features, of which one is called {shown(clash)}; "
            "rename the output.",
            "/outputs/embedding",
        )
    return name


def _positive_class(metadata: UploadMetadata, classes: list[str], task: str) -> str | None:
    declared = None if metadata.positive_class is None else str(metadata.positive_class)
    if declared is not None and task != "binary":
        raise _incompatible(
            f"Only a binary model has a positive class; this one is {task}.", "/positive_class"
        )
    if declared is not None and declared not in classes:
        raise _invalid(
            f"The positive class {shown(declared)} is none of {_listed(classes)}.", "/positive_class"
        )
    return declared or (classes[1] if task == "binary" else None)


def _missing(metadata: UploadMetadata, features: list[Feature]) -> dict[str, str]:
    types = {feature.name: feature.type for feature in features}
    for name in metadata.missing:
        if types.get(name) != "string":
            raise _invalid(
                f"missing names {shown(name)}, which is no string feature; numbers use null as it is.",
                "/missing/" + name.replace("~", "~0").replace("/", "~1"),
            )
    return metadata.missing


def _spec(findings: SeenModel, name: str) -> TensorSpec:
    return next(spec for spec in findings.outputs if spec.name == name)


def _outputs_listed(findings: SeenModel) -> str:
    return _listed([spec.name for spec in findings.outputs])


def _listed(names: list[str]) -> str:
    return shown(", ".join(names), 200)


def _invalid(detail: str, pointer: str) -> IntakeRefused:
    return IntakeRefused("invalid_metadata", 422, detail, pointer)


def _unsupported_input(detail: str) -> IntakeRefused:
    return IntakeRefused("unsupported_input", 422, detail)


def _incompatible(detail: str, pointer: str | None = None) -> IntakeRefused:
    return IntakeRefused("incompatible_signature", 422, detail, pointer)
