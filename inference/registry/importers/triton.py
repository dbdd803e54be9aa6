"""Triton's model repository: `<model>/config.pbtxt` and `<model>/<version>/model.onnx`.

Fields and defaults as in the server's documentation, "Model Configuration" and "Model Repository":
https://github.com/triton-inference-server/server/tree/main/docs/user_guide
"""

from pathlib import Path

from inference.registry.importers.folder import numbered_versions, read_text, shown, subfolders
from inference.registry.importers.protobuf_text import ProtobufMessage, read_message
from inference.registry.importers.source_model import (
    DeclaredTensor,
    MigrationRefused,
    NotImported,
    SourceModel,
    unreadable,
)
from inference.registry.importers.version_policy import not_served, served_by
from inference.registry.intake.metadata import UploadMetadata

CONFIG = "config.pbtxt"
DEFAULT_FILE = "model.onnx"
_ONNX = ("onnxruntime", "onnxruntime_onnx")
_CONVERT = {
    "tensorflow": "convert it: python -m tf2onnx.convert --saved-model DIR --output model.onnx",
    "pytorch": "export it from the PyTorch module: torch.onnx.export, or driftline_client.push",
    "python": "it is a program: export the model that it calls as ONNX, and what it does beside that to the caller",
    "tensorrt": "a plan fits one GPU: upload the ONNX that it was built from, with execution_provider tensorrt",
    "ensemble": "call its steps in turn, or join their ONNX files (onnx.compose.merge_models)",
    "openvino": "upload the ONNX that it was made from, with execution_provider openvino",
    "fil": "convert the trees with onnxmltools, or driftline_client.push",
    "dali": "do the preprocessing in the caller",
}
_REMEDIES = {
    "instance_group": "DRIFTLINE_WEB_WORKERS is the number of processes, each with one copy of every model",
    "sequence_batching": "no state is kept between requests: make the state an input and an output",
    "response_cache": "each request is answered anew: keep a cache in the caller",
    "model_transaction_policy": "a request has one answer",
    "optimization": "ONNX Runtime optimises each graph as far as it can",
    "parameters": "ONNX Runtime runs each model with one thread; there is nothing to set",
    "batch_input": "the caller sends it as an input",
    "batch_output": "read it from the outputs",
}
_OURS = {
    "max_batch_size": "requests are joined by measured cost, up to 10,000 rows at a time",
    "dynamic_batching": "requests that wait are joined; nobody waits for company",
    "model_warmup": "each version is warmed with the last real rows before it answers",
    "priority_levels": "priority and timeout of a request are understood",
}
_READ = {
    "name", "platform", "backend", "default_model_filename", "version_policy", "input", "output",
    *_OURS, *_REMEDIES,
}  # fmt: skip


def read_repository(root: Path) -> list[SourceModel]:
    """Read each model of a repository; what is wrong with one does not keep the others from coming along."""
    return [_read_model(root, folder) for folder in subfolders(root) if is_model(folder)]


def is_model(folder: Path) -> bool:
    """Return whether a folder looks like a model of a repository."""
    return (folder / CONFIG).exists() or any(folder.glob(f"[1-9]*/{DEFAULT_FILE}"))


def _read_model(root: Path, folder: Path) -> SourceModel:
    place = shown(root, folder / CONFIG)
    try:
        config = (
            read_message(read_text(root, folder / CONFIG), place)
            if (folder / CONFIG).exists()
            else ProtobufMessage()
        )
        return _describe(root, folder, config)
    except MigrationRefused as refusal:
        return unreadable(folder.name, place, refusal)


def _describe(root: Path, folder: Path, config: ProtobufMessage) -> SourceModel:
    place = shown(root, folder)
    name = config.text("name", folder.name)
    left = _fields_left(config)
    backend = _backend(config)
    if backend not in _ONNX:
        family = next((key for key in _CONVERT if key in backend), "")
        remedy = _CONVERT.get(family, "export the model as ONNX")
        return SourceModel(name, place, left=(NotImported(f"the {backend} model", remedy), *left))
    there = numbered_versions(root, folder, _file_name(config))
    served = served_by(config.message("version_policy"), there)
    missing = (
        []
        if there
        else [NotImported("the model file", f"no folder such as 1 holds {_file_name(config)}; put it there")]
    )
    labels, labels_left = _labels(root, folder, config)
    return SourceModel(
        name,
        place,
        versions=tuple(served),
        metadata=UploadMetadata(classes=labels, execution_provider=_provider(config)),
        inputs=_tensors(config, "input"),
        outputs=_tensors(config, "output"),
        kept=tuple(f"{field}: {ours}" for field, ours in _OURS.items() if field in config.fields),
        left=(*missing, *not_served(there, served), *labels_left, *left),
        origin={"server": "triton", "platform": backend},
    )


def _backend(config: ProtobufMessage) -> str:
    """Name what runs the model; a folder without a configuration is ONNX where it has a model.onnx."""
    if "ensemble_scheduling" in config.fields:
        return "ensemble"
    named = config.text("backend") or config.text("platform")
    if named == "pytorch_libtorch":
        return "pytorch"
    return named or ("onnxruntime" if _file_name(config).endswith(".onnx") else _file_name(config))


def _file_name(config: ProtobufMessage) -> str:
    name = config.text("default_model_filename") or DEFAULT_FILE
    if Path(name).name != name:
        raise MigrationRefused(
            f"default_model_filename is {name[:64]!r}; it names a file in the version's folder."
        )
    return name


# -- inputs, outputs and classes ---------------------------------------------------------------------------------------
def _tensors(config: ProtobufMessage, field: str) -> tuple[DeclaredTensor, ...]:
    """Read the tensors; where max_batch_size is above 0 their dims leave out the rows."""
    is_batched = any(size > 0 for size in config.numbers("max_batch_size"))
    tensors = []
    for tensor in config.messages(field):
        kind = tensor.text("data_type").removeprefix("TYPE_")
        dims = (
            tensor.message("reshape").numbers("shape")
            if "reshape" in tensor.fields
            else tensor.numbers("dims")
        )
        shape = (-1, *dims) if is_batched else tuple(dims)
        tensors.append(
            DeclaredTensor(tensor.text("name"), {"STRING": "BYTES"}.get(kind, kind) or None, shape or None)
        )
    return tuple(tensors)


def _labels(root: Path, folder: Path, config: ProtobufMessage) -> tuple[list[str | int], list[NotImported]]:
    """Read the class names, which Triton keeps a line each in the `label_filename` of an output."""
    files = {tensor.text("label_filename"): tensor for tensor in config.messages("output")}
    files.pop("", None)
    if len(files) > 1:
        return [], [
            NotImported(
                "label_filename", "several outputs have one: name the classes in the upload's metadata"
            )
        ]
    for name in files:
        lines = read_text(root, folder / name).splitlines()
        return [line.strip() for line in lines if line.strip()], []
    return [], []


# -- the rest ----------------------------------------------------------------------------------------------------------
def _provider(config: ProtobufMessage) -> str:
    """Name the execution provider that the configuration asks for; the CPU where it leaves that to Triton."""
    accelerators = config.message("optimization").message("execution_accelerators")
    names = [
        accelerator.text("name")
        for field in ("gpu_execution_accelerator", "cpu_execution_accelerator")
        for accelerator in accelerators.messages(field)
    ]
    for name in names:
        if name in ("tensorrt", "openvino"):
            return name
    kinds = [group.text("kind") for group in config.messages("instance_group")]
    return "cuda" if "KIND_GPU" in kinds else "cpu"


def _fields_left(config: ProtobufMessage) -> list[NotImported]:
    known = [NotImported(field, remedy) for field, remedy in _REMEDIES.items() if field in config.fields]
    batching = [
        NotImported(
            f"dynamic_batching.{field}", "batches are made of what waits, without a size or a delay to set"
        )
        for field in ("preferred_batch_size", "max_queue_delay_microseconds")
        if field in config.message("dynamic_batching").fields
    ]
    reshaped = [
        NotImported(
            f"reshape of {tensor.text('name')[:64]}", "callers send the shape that the ONNX itself has"
        )
        for field in ("input", "output")
        for tensor in config.messages(field)
        if "reshape" in tensor.fields
    ]
    unknown = [
        NotImported(field[:64], "there is nothing like it")
        for field in config.fields
        if field not in _READ and field != "ensemble_scheduling"
    ]
    return [*known, *batching, *reshaped, *unknown]
