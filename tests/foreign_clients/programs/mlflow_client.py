"""Asks a server through MLflow's scoring client; runs in the environment of the foreign clients.

Usage and files as those of triton_client.py; the token's project has the forest alone.
"""

import json
import sys
from typing import Any

import mlflow.pyfunc.scoring_server.client as scoring
import numpy as np
import pandas as pd
import requests
from exchange import Arrays, as_asked, read_questions


def main(
    http: str, _grpc: str, token: str, questions_path: str, answers_path: str, findings_path: str
) -> None:
    """Ask in each form, and write what came back."""
    inputs = read_questions(questions_path)["forest"]
    rows = inputs["X"]
    headers = {"authorization": f"Bearer {token}"}
    send = requests.post

    def send_with_token(**request: Any) -> requests.Response:
        return send(**{**request, "headers": {**request["headers"], **headers}})

    scoring.requests.post = send_with_token  # the client has no option for a token
    host, port = http.split(":")
    client = scoring.ScoringServerClient(host, int(port))
    client.ping()
    table = pd.DataFrame(rows, columns=["f0", "f1", "f2", "f3"])
    asked = {
        "dataframe_split": table,
        "dataframe_split_reordered": table[["f3", "f0", "f2", "f1"]],
        "dataframe_split_unnamed": pd.DataFrame(rows),
        "dataframe_records": json.dumps({"dataframe_records": table.to_dict(orient="records")}),
        "instances": json.dumps({"instances": rows.tolist()}),
        "inputs": rows,
        "inputs_by_name": json.dumps({"inputs": {"X": rows.tolist()}}),
    }
    answers: Arrays = {}

    def keep(form: str, predictions: Any) -> None:
        for output in ("label", "probabilities"):
            values = [row[output] for row in predictions]
            answers[f"{form}/forest/{output}"] = as_asked("forest", output, values, inputs)

    for form, data in asked.items():
        found = client.invoke(data)
        keep(form, found.get_predictions("dataframe").to_dict(orient="records"))
    csv = table.to_csv(index=False)
    answered = send(f"http://{http}/invocations", data=csv, headers={**headers, "Content-Type": "text/csv"})
    keep("csv", answered.json()["predictions"])
    findings = {
        "missing": client.invoke(table.assign(f0=np.nan)).get_predictions("dataframe").shape[0],
        "wrong": refusal(lambda: client.invoke(table[["f0", "f1"]])),
        "form": refusal(lambda: client.invoke(json.dumps({"data": rows.tolist()}))),
    }
    np.savez(answers_path, **answers)
    with open(findings_path, "w") as file:
        json.dump(findings, file)


def refusal(ask: Any) -> str:
    """Tell what the client makes of a refusal."""
    try:
        ask()
    except Exception as error:
        return str(error)
    return "answered"


if __name__ == "__main__":
    main(*sys.argv[1:])
