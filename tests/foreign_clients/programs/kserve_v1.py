"""Asks a server through the `kserve` SDK in its protocol V1; runs in the environment of the foreign clients.

Usage and files as those of triton_client.py.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from exchange import Arrays, as_asked, read_questions
from kserve import InferenceRESTClient
from kserve.inference_client import RESTConfig


def instances_of(inputs: Arrays) -> list[Any]:
    """Write rows: bare values for one input, objects by name for several."""
    if len(inputs) == 1:
        return next(iter(inputs.values())).tolist()
    rows = zip(*(values.tolist() for values in inputs.values()), strict=True)
    return [dict(zip(inputs, row, strict=True)) for row in rows]


async def main(
    http: str, _grpc: str, token: str, questions_path: str, answers_path: str, findings_path: str
) -> None:
    """Ask, and write what came back."""
    questions = read_questions(questions_path)
    base, headers = f"http://{http}", {"authorization": f"Bearer {token}"}
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))

    async def ask(model: str, data: Any) -> Any:
        return await client.infer(base, data, model_name=model, headers=headers)

    async def refusal(model: str, data: Any) -> list[str]:
        try:
            await ask(model, data)
        except httpx.HTTPStatusError as refused:
            return [str(refused.response.status_code), str(refused)]
        return ["answered", ""]

    answers: Arrays = {}
    for model, inputs in questions.items():
        predictions = (await ask(model, {"instances": instances_of(inputs)}))["predictions"]
        for output in predictions[0]:
            values = [row[output] for row in predictions]
            answers[f"v1/{model}/{output}"] = as_asked(model, output, values, inputs)
    findings = {
        "ready": await client.is_model_ready(base, "forest", headers=headers),
        "unknown": await refusal("unknown", {"instances": [[1, 2, 3, 4]]}),
        "wrong": await refusal("forest", {"instances": [[1, 2, 3]]}),
    }
    await client.close()
    np.savez(answers_path, **answers)
    with open(findings_path, "w") as file:
        json.dump(findings, file)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
