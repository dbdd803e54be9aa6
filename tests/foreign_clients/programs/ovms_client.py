"""Asks a server through `ovmsclient`, a client of TensorFlow Serving over HTTP and gRPC.

Runs in the environment of the foreign clients. Usage and files as those of triton_client.py.
"""

import json
import sys
from typing import Any

import grpc
import numpy as np
import ovmsclient
from exchange import Arrays, as_asked, plain, read_questions
from ovmsclient.tfs_compat.grpc.serving_client import (
    GrpcClient,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)


class WithToken(grpc.UnaryUnaryClientInterceptor):
    """Sends a token with each call, for which the client has no option."""

    def __init__(self, token: str) -> None:
        self._metadata = [("authorization", f"Bearer {token}")]

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), request)


def http_client(address: str, token: str) -> Any:
    client = ovmsclient.make_http_client(address)
    client.session.headers["authorization"] = f"Bearer {token}"
    return client


def grpc_client(address: str, token: str) -> Any:
    channel = grpc.intercept_channel(grpc.insecure_channel(address), WithToken(token))
    return GrpcClient(
        channel,
        prediction_service_pb2_grpc.PredictionServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
    )


def refusal(ask: Any) -> list[str]:
    """Tell what the client makes of a refusal."""
    try:
        ask()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["answered", ""]


def main(
    http: str, grpc_address: str, token: str, questions_path: str, answers_path: str, findings_path: str
) -> None:
    """Ask with both clients, and write what came back."""
    questions = read_questions(questions_path)
    rows = questions["forest"]
    answers: Arrays = {}
    findings: dict[str, Any] = {}
    for name, make, address in (("rest", http_client, http), ("grpc", grpc_client, grpc_address)):
        client = make(address, token)
        for model, inputs in questions.items():
            for output, values in client.predict(inputs, model).items():
                found = plain(values) if name == "grpc" else as_asked(model, output, values, inputs)
                answers[f"{name}/{model}/{output}"] = found
        findings[name] = {
            "status": client.get_model_status("forest"),
            "metadata": client.get_model_metadata("forest", 1),
            "version": np.asarray(client.predict(rows, "forest", 1)["label"]).tolist(),
            "unknown": refusal(lambda: client.predict(rows, "unknown")),  # noqa: B023  called at once
            "unknown_version": refusal(lambda: client.predict(rows, "forest", 9)),  # noqa: B023
            "wrong": refusal(lambda: client.predict({"Y": rows["X"]}, "forest")),  # noqa: B023
            "anonymous": refusal(lambda: make(address, "dl_nobody").predict(rows, "forest")),  # noqa: B023
        }
    np.savez(answers_path, **answers)
    with open(findings_path, "w") as file:
        json.dump(findings, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
