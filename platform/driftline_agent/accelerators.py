"""Profiles: which provider of ONNX Runtime runs a model on this device, and the proof that it does.

What a provider takes and answers depends on the model, the driver and the build: each model is run on it once, and
runs on the CPU where that fails, where no node is placed on it, or where it answers other numbers.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from driftline_agent.errors import AgentError

CPU = "cpu"
TOLERANCE = 0.01
"""By how much a number may differ from the CPU's, as a share of it: accelerators compute in 16 bits."""
SMALL_SHARE = 0.001
"""By how much it may differ anyway, as a share of the output's largest number."""
EQUAL_SHARE = 0.9
"""Share of texts and whole numbers, such as labels, that must be the CPU's: close scores may fall to either side."""


@dataclass(frozen=True)
class Profile:
    """A provider with its options; `cache` names the option for the folder of what it compiles."""

    provider: str
    package: str
    options: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    then: Sequence[str] = ()


PROFILES: Mapping[str, Profile] = {
    "openvino-cpu": Profile("OpenVINOExecutionProvider", "onnxruntime-openvino", {"device_type": "CPU"}),
    "openvino-gpu": Profile(
        "OpenVINOExecutionProvider", "onnxruntime-openvino", {"device_type": "GPU"}, "cache_dir"
    ),
    "openvino-npu": Profile(
        "OpenVINOExecutionProvider", "onnxruntime-openvino", {"device_type": "NPU"}, "cache_dir"
    ),
    "cuda": Profile("CUDAExecutionProvider", "onnxruntime-gpu, on a Jetson NVIDIA's wheel of it"),
    "tensorrt": Profile(
        "TensorrtExecutionProvider",
        "onnxruntime-gpu, on a Jetson NVIDIA's wheel of it",
        {"trt_fp16_enable": "1", "trt_engine_cache_enable": "1"},
        "trt_engine_cache_path",
        ["CUDAExecutionProvider"],
    ),
    "xnnpack": Profile(
        "XnnpackExecutionProvider", "a build of ONNX Runtime that has it", {"intra_op_num_threads": "1"}
    ),
}


class NotAccelerated(Exception):
    """A model cannot run by a profile; the text says why."""


def check_profile(name: str) -> None:
    """Raise AgentError where this ONNX Runtime lacks the profile's provider."""
    if name != CPU and PROFILES[name].provider not in ort.get_available_providers():
        raise AgentError(
            f"The ONNX Runtime of this environment does not have what --profile {name} needs. Uninstall onnxruntime "
            f"and install {PROFILES[name].package}."
        )


def accelerate(
    path: Path,
    options: Any,
    name: str,
    feed: Mapping[str, npt.NDArray[Any]],
    expected: Mapping[str, npt.NDArray[Any]],
) -> tuple[Any, str]:
    """Load a file by a profile, and run `feed`, to which the CPU answered `expected`.

    Returns the session and where its nodes ran. Raises NotAccelerated where it is better run on the CPU.
    """
    profile = PROFILES[name]
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        try:
            session = ort.InferenceSession(str(path), options, providers=_providers(profile, path))
            results = session.run(list(expected), dict(feed))
            events = json.loads(Path(session.end_profiling()).read_text())
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise NotAccelerated(_reason_of(error)) from error
    nodes = _placed_nodes(events)
    taken = nodes.get(profile.provider, 0)
    if not taken:
        raise NotAccelerated("it takes none of the model's nodes")
    for output, found in zip(expected, results, strict=True):
        compare(output, np.asarray(found), expected[output])
    rest = sum(nodes.values()) - taken
    return session, f"{name}, {taken} of {taken + rest} nodes" if rest else f"{name}, all nodes"


def _providers(profile: Profile, path: Path) -> list[Any]:
    options = dict(profile.options)
    if profile.cache:
        cache = compiled_of(path)
        cache.mkdir(exist_ok=True)
        options[profile.cache] = str(cache)
    return [(profile.provider, options), *profile.then, "CPUExecutionProvider"]


def trial_of(path: Path) -> Path:
    """Return the file that names the profile which a model's file is being tried with; there afterwards, it crashed."""
    return path.with_suffix(".trial")


def compiled_of(path: Path) -> Path:
    """Return the folder of what was compiled of a model's file."""
    return path.with_suffix(".compiled")


def _placed_nodes(events: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count the nodes that ran, by provider."""
    placed = {
        (event["name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    providers = [provider for _, provider in placed]
    return {provider: providers.count(provider) for provider in set(providers)}


def compare(output: str, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    """Raise NotAccelerated where an output is not the one of the CPU."""
    if found.shape != expected.shape:
        raise NotAccelerated(f"its output {output} has another shape there")
    if expected.dtype.kind != "f":
        if np.mean(found == expected) < EQUAL_SHARE:
            raise NotAccelerated(f"its output {output} is another one there")
        return
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    far = ~np.isclose(found, expected, rtol=TOLERANCE, atol=SMALL_SHARE * largest, equal_nan=True)
    if far.any():
        raise NotAccelerated(f"{output} is {found[far][0]:.4g} there and {expected[far][0]:.4g} on the CPU")


def _reason_of(error: Exception) -> str:
    """Return the last line that an engine says, which names the cause; the first ones are where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:120]
