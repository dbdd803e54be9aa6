"""Recognises other file formats by their first bytes, so that each gets its own sentence and none is opened."""

import re

from inference.registry.intake.errors import IntakeRefused

HEAD_BYTES = 4096
_CONVERT = "Convert the model to ONNX (skl2onnx, onnxmltools, torch.onnx, tf2onnx) and upload that file."
_PROGRAMS = {
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"GGUF": "a GGUF file",
}
_DOCUMENTS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "an executable",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
    b"ply": "a PLY file",
}
_FLATBUFFERS = {b"ORTM": "an ONNX Runtime (.ort) file", b"TFL3": "a TensorFlow Lite file"}
# Protocol 2 and later begin with PROTO; earlier ones are text that begins with an opcode and ends with STOP.
_PICKLE = re.compile(rb"\x80[\x02-\x05]|[\](}]q[\x00-\xff]|\([dl]p\d|c[a-z_][\w.]*\n[\w.]+\n")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_SAFETENSORS = re.compile(rb".{6}\x00\x00\{\"", re.DOTALL)
_MODEL_IN_ZIP = re.compile(rb"data\.pkl|\.npy|\.pkl|config\.json|metadata\.json|\.h5|MLmodel")


def refuse_other_formats(head: bytes) -> None:
    """Raise `IntakeRefused` for an empty file or any format that is known and is not ONNX.

    `head` holds the first `HEAD_BYTES` of the file, or all of a shorter one.
    """
    if not head:
        raise _not_onnx("empty")
    for magic, name in _PROGRAMS.items():
        if head.startswith(magic):
            raise _refused(name)
    if _PICKLE.match(head):
        raise _refused("a pickle, which can run any code when opened")
    if _ZLIB.match(head):
        raise _refused("zlib-compressed, as joblib writes")
    if head[4:8] in _FLATBUFFERS:
        raise _refused(_FLATBUFFERS[head[4:8]])
    if _SAFETENSORS.match(head):
        raise _refused("a safetensors file")
    if head.startswith(b"PK\x03\x04"):
        raise _refused("a zip of another model format") if _MODEL_IN_ZIP.search(head) else _not_onnx("a zip")
    for magic, name in _DOCUMENTS.items():
        if head.startswith(magic):
            raise _not_onnx(name)
    if head.lstrip()[:1] in (b"<", b"{", b"["):
        raise _not_onnx("text (HTML, XML or JSON)")


def _refused(name: str) -> IntakeRefused:
    return IntakeRefused("format_refused", 415, f"The file is {name}, and was not opened. {_CONVERT}")


def _not_onnx(name: str) -> IntakeRefused:
    return IntakeRefused("not_onnx", 422, f"The file is {name}; upload an ONNX model.")
