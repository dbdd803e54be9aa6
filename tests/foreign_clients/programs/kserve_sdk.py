"""Asks a server through the `kserve` SDK; runs in the environment of the foreign clients.

Usage and files as those of triton_client.py.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from exchange import Arrays, plain, read_questions
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import from_np_dtype


def request_for(model: str, inputs: Arrays, *, binary: bool) -> InferRequest:
    """Write a request, with its values as bytes or in JSON."""
    tensors = []
    for name, values in inputs.items():
        datatype = "BYTES" if values.dtype.kind == "U" else from_np_dtype(values.dtype)
        tensor = InferInput(name, list(values.shape), datatype)
        given = values.astype(object) if datatype == "BYTES" else values
        tensor.set_data_from_numpy(given, binary_data=binary or datatype == "FP16")
        tensors.append(tensor)
    names = ["label", "probabilities"] if model == "forest" else [f"same_{name}" for name in inputs]
    outputs = [RequestedOutput(name, {"binary_data": binary or name.endswith("fp16")}) for name in names]
    return InferRequest(model, tensors, request_id="mine", request_outputs=outputs)


async def main(
    http: str, grpc_address: str, token: str, questions_path: str, answers_path: str, findings_path: str
) -> None:
    """Ask with both clients, and write what came back."""
    questions = read_questions(questions_path)
    base = f"http://{http}"
    headers = {"authorization": f"Bearer {token}"}
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    remote = InferenceGRPCClient(grpc_address)

    async def ask_rest(request: InferRequest) -> Any:
        own = dict(headers)  # the SDK writes into the one that it is given
        return await rest.infer(base, request, model_name=request.model_name, headers=own)

    async def ask_grpc(request: InferRequest) -> Any:
        return await remote.infer(request, headers=tuple(headers.items()))

    answers: Arrays = {}
    for client, ask, binary in (
        ("rest-json", ask_rest, False),
        ("rest-binary", ask_rest, True),
        ("grpc", ask_grpc, True),
    ):
        for model, inputs in questions.items():
            response = await ask(request_for(model, inputs, binary=binary))
            for output in response.outputs:
                answers[f"{client}/{model}/{output.name}"] = plain(output.as_numpy())
    unknown = request_for("unknown", questions["forest"], binary=False)
    findings: dict[str, Any] = {
        "rest": {
            "live": await rest.is_server_live(base, headers=headers),
            "ready": await rest.is_server_ready(base, headers=headers),
            "model_ready": await rest.is_model_ready(base, "forest", headers=headers),
            "unknown": await status_of(ask_rest(unknown)),
        },
        "grpc": {
            "live": await remote.is_server_live(),
            "ready": await remote.is_server_ready(),
            "model_ready": await remote.is_model_ready("forest", headers=tuple(headers.items())),
            "unknown": await status_of(ask_grpc(unknown)),
        },
    }
    await rest.close()
    await remote.close()
    np.savez(answers_path, **answers)
    with open(findings_path, "w") as file:
        json.dump(findings, file)


async def status_of(call: Any) -> str:
    """Give the status with which a call is refused."""
    try:
        await call
    except httpx.HTTPStatusError as refused:
        return str(refused.response.status_code)
    except grpc.RpcError as refused:
        return str(refused.code().name)
    return "answered"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
