"""Asks a server everything through `tritonclient`; runs in the environment of the foreign clients.

Usage: triton_client.py HTTP_ADDRESS GRPC_ADDRESS TOKEN QUESTIONS ANSWERS FINDINGS. QUESTIONS is an .npz of arrays named
`model/input`; ANSWERS becomes one of arrays named `client/model/output`, FINDINGS a JSON object by client.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from exchange import Arrays, plain, read_questions
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

OUTPUTS = {"forest": ["label", "probabilities"]}
HTTP, GRPC = tritonclient.http, tritonclient.grpc


async def settle(result: Any) -> Any:
    """Wait where the client is an asynchronous one."""
    return await result if inspect.isawaitable(result) else result


class Asker:
    """One of the clients, with or without binary tensors and compression."""

    def __init__(
        self, kind: Any, client: Any, token: str, *, binary: bool = True, coding: str | None = None
    ) -> None:
        self.kind = kind
        self.client = client
        self.binary = binary
        self.token = token
        self.coding = coding

    @property
    def headers(self) -> dict[str, str]:
        """Give headers of their own to each call: the HTTP client writes into the ones that it is given."""
        return {"authorization": f"Bearer {self.token}"}

    @property
    def options(self) -> dict[str, Any]:
        """Give the options of one inference request."""
        if self.coding is None:
            return {"headers": self.headers}
        return {
            "headers": self.headers,
            "request_compression_algorithm": self.coding,
            "response_compression_algorithm": self.coding,
        }

    def tensor(self, name: str, values: np.ndarray) -> Any:
        datatype = "BYTES" if values.dtype.kind == "U" else np_to_triton_dtype(values.dtype)
        tensor = self.kind.InferInput(name, list(values.shape), datatype)
        given = values.astype(object) if datatype == "BYTES" else values
        if self.kind is GRPC:
            return tensor.set_data_from_numpy(given)
        return tensor.set_data_from_numpy(given, binary_data=self.binary or datatype == "FP16")

    def output(self, name: str, **options: Any) -> Any:
        if self.kind is GRPC:
            return GRPC.InferRequestedOutput(name, **options)
        return HTTP.InferRequestedOutput(name, binary_data=self.binary or name.endswith("fp16"), **options)

    async def infer(self, model: str, inputs: Arrays) -> Arrays:
        """Ask for all outputs by name."""
        names = OUTPUTS.get(model) or [f"same_{name}" for name in inputs]
        result = await settle(
            self.client.infer(
                model,
                [self.tensor(name, values) for name, values in inputs.items()],
                outputs=[self.output(name) for name in names],
                **self.options,
            )
        )
        return {name: plain(result.as_numpy(name)) for name in names}

    async def statistics_of(self, model: str, questions: int) -> Any:
        """Wait until as many questions are counted: a process tells its counts once a second."""
        as_json = {"as_json": True} if self.kind is GRPC else {}
        for _ in range(100):
            found = await settle(self.client.get_inference_statistics(model, headers=self.headers, **as_json))
            if int(found["model_stats"][0].get("inference_count", 0)) >= questions:
                break
            await asyncio.sleep(0.1)
        return found

    async def look_around(self, inputs: Arrays) -> dict[str, Any]:
        """Ask what there is besides inference; `inputs` are the forest's."""
        ask, headers = self.client, {"headers": self.headers}
        as_json = {"as_json": True} if self.kind is GRPC else {}
        tensors = [self.tensor(name, values) for name, values in inputs.items()]
        best = await settle(
            ask.infer(
                "forest",
                tensors,
                model_version="1",
                outputs=[self.output("probabilities", class_count=1)],
                request_id="mine",
                parameters={"driftline_subject": "somebody"},
                **self.options,
            )
        )
        response = best.get_response(**as_json)
        return {
            "live": await settle(ask.is_server_live(**headers)),
            "ready": await settle(ask.is_server_ready(**headers)),
            "model_ready": await settle(ask.is_model_ready("forest", "1", **headers)),
            "server": (await settle(ask.get_server_metadata(**headers, **as_json)))["name"],
            "metadata": await settle(ask.get_model_metadata("forest", **headers, **as_json)),
            "configuration": await settle(ask.get_model_config("forest", **headers, **as_json)),
            "statistics": await self.statistics_of("forest", 5),
            "index": await settle(ask.get_model_repository_index(**headers, **as_json)),
            "best": plain(best.as_numpy("probabilities")).tolist(),
            "id": response["id"],
            "outputs": [output["name"] for output in response["outputs"]],
            "unknown": await refusal(lambda: ask.infer("unknown", tensors, **self.options)),
            "wrong": await refusal(lambda: ask.infer("identity", tensors, **self.options)),
            "anonymous": await refusal(lambda: ask.infer("forest", tensors)),
        }


async def refusal(call: Callable[[], Any]) -> str:
    """Give the sentence with which a call is refused."""
    try:
        await settle(call())
    except InferenceServerException as refused:
        return refused.message()
    return "answered"


async def main(
    http: str, grpc: str, token: str, questions_path: str, answers_path: str, findings_path: str
) -> None:
    """Ask with every client, and write what came back."""
    questions = read_questions(questions_path)
    http_client, http_aio = (
        HTTP.InferenceServerClient(http),
        tritonclient.http.aio.InferenceServerClient(http),
    )
    grpc_client, grpc_aio = (
        GRPC.InferenceServerClient(grpc),
        tritonclient.grpc.aio.InferenceServerClient(grpc),
    )
    askers = {
        "http-binary": Asker(HTTP, http_client, token),
        "http-json": Asker(HTTP, http_client, token, binary=False),
        "http-gzip": Asker(HTTP, http_client, token, coding="gzip"),
        "http-deflate": Asker(HTTP, http_client, token, binary=False, coding="deflate"),
        "http-aio-binary": Asker(HTTP, http_aio, token),
        "http-aio-json": Asker(HTTP, http_aio, token, binary=False),
        "grpc": Asker(GRPC, grpc_client, token),
        "grpc-aio": Asker(GRPC, grpc_aio, token),
    }
    answers: Arrays = {}
    findings: dict[str, Any] = {}
    for client, asker in askers.items():
        for model, inputs in questions.items():
            for output, values in (await asker.infer(model, inputs)).items():
                answers[f"{client}/{model}/{output}"] = values
        if client in ("http-binary", "http-aio-json", "grpc", "grpc-aio"):
            findings[client] = await asker.look_around(questions["forest"])
    for client in (http_client, http_aio, grpc_client, grpc_aio):
        await settle(client.close())
    np.savez(answers_path, **answers)
    with open(findings_path, "w") as file:
        json.dump(findings, file)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
