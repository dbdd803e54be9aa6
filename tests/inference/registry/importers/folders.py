"""Writes the folders that other servers read."""

from pathlib import Path

FRAUD_CONFIG = """
name: "fraud"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "X"  data_type: TYPE_FP32  dims: [ 3 ] } ]
output [ { name: "sum"  data_type: TYPE_FP32  dims: [ 1 ] } ]
version_policy: { latest { num_versions: 2 } }
instance_group [ { count: 4  kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 8, 16 ]  max_queue_delay_microseconds: 100 }
model_warmup [ { name: "once"  batch_size: 1 } ]
"""


def write(path: Path, content: str | bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
