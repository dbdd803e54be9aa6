"""Load the model in ONNX Runtime as serving will, and describe its inputs and outputs."""

import re

import onnxruntime as ort

from inference.registry.intake.errors import IntakeRefused, shown
from inference.registry.intake.graph import (
    OLDEST_IR,
    OLDEST_OPSETS,
    not_a_tensor,
    not_utf8,
    unsupported_output,
)
from inference.registry.intake.limits import IntakeLimits
from inference.signatures import TensorSpec

Session = ort.InferenceSession

DATATYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bool": "BOOL",
    "string": "BYTES",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_OUT_OF_MEMORY = re.compile(
    r"bad.alloc|allocat|out of memory|exceeds the supported maximum|length_error", re.IGNORECASE
)
_REASONS = (
    (re.compile(r"opset|IR version", re.IGNORECASE), "unsupported_opset"),
    (re.compile(r"NOT_IMPLEMENTED|not a registered", re.IGNORECASE), "unsupported_op"),
    (re.compile(r"TensorProto|initializer", re.IGNORECASE), "invalid_tensor"),
)


def open_session(content: bytes) -> ort.InferenceSession:
    """Create a session of one thread; ONNX Runtime's refusal becomes ours, with its reason."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except UnicodeDecodeError as error:  # ONNX Runtime's reason quotes the name
        raise not_utf8() from error
    except Exception as error:
        raise_if_out_of_memory(error)
        code = next((code for pattern, code in _REASONS if pattern.search(str(error))), "invalid_model")
        reason = _supported_range(str(error)) or plain_reason(error)
        raise IntakeRefused(
            code, 422, f"ONNX Runtime {ort.__version__} cannot load the model: {reason}"
        ) from error


def _supported_range(message: str) -> str | None:
    """Return the newest operator set or IR version that this ONNX Runtime reads, where that was the fault."""
    opset = re.search(r"Opset (\d+) is .*domain (\S+) is till opset (\d+)", message, re.DOTALL)
    if opset:
        found, domain, newest = opset.groups()
        oldest = OLDEST_OPSETS.get(domain, 1)
        return f"it uses opset {found} of {domain}; export it with opset {oldest} to {newest} (target_opset)."
    ir_version = re.search(r"IR version: (\d+), max supported IR version: (\d+)", message)
    if ir_version:
        found, newest = ir_version.groups()
        return f"it has IR version {found}; export it with IR version {OLDEST_IR} to {newest}."
    return None


def raise_if_out_of_memory(error: Exception) -> None:
    """Raise `resource_limit` where the error says that memory ran out."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        raise IntakeRefused(
            "resource_limit",
            422,
            "The model needs more memory than an upload may use; build a smaller one, or look for a tensor "
            f"whose size is computed ({plain_reason(error)})",
        ) from error


def plain_reason(error: Exception) -> str:
    """Take source paths and function names out of ONNX Runtime's message, and cut it."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"/onnxruntime_src/\S+ .*?\)( const)? ", "", text)
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    return text[:300]


def describe_inputs(session: ort.InferenceSession, limits: IntakeLimits) -> list[TensorSpec]:
    """Return the inputs in V2 datatypes."""
    inputs = [_spec(argument, limits, "unsupported_input") for argument in session.get_inputs()]
    if len(inputs) > limits.features or any(max(spec.shape, default=0) > limits.features for spec in inputs):
        raise IntakeRefused(
            "unsupported_input", 422, f"The model takes more than {limits.features:,} features; reduce them."
        )
    return inputs


def describe_outputs(session: ort.InferenceSession, limits: IntakeLimits) -> list[TensorSpec]:
    """Return the outputs in V2 datatypes; sequences and maps are refused."""
    return [_spec(argument, limits, "unsupported_output") for argument in session.get_outputs()]


def _spec(argument: ort.NodeArg, limits: IntakeLimits, code: str) -> TensorSpec:
    try:
        name, kind = argument.name, argument.type
    except UnicodeDecodeError as error:
        raise not_utf8() from error
    if not name.isprintable() or not 1 <= len(name) <= limits.name_characters:
        raise IntakeRefused(
            "invalid_text",
            422,
            f"The tensor name {shown(name)} will not do; use 1 to {limits.name_characters} printable characters.",
        )
    inner = re.fullmatch(r"tensor\((\w+)\)", kind)
    if inner is None and code == "unsupported_output":
        raise not_a_tensor(name, "sequence or map")
    if inner is None or inner[1] not in DATATYPES:
        detail = (
            f"The tensor {shown(name)} has type {shown(kind)}; use float, double, integers, bool or string."
        )
        raise unsupported_output(detail) if code == "unsupported_output" else IntakeRefused(code, 422, detail)
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape]
    return TensorSpec(name, DATATYPES[inner[1]], shape)
