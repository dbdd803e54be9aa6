"""A user of MLflow logs an ONNX as a new version: `python mlflow_log.py model.onnx NAME` prints its number."""

import sys

import mlflow
import onnx

file, name = sys.argv[1:]
with mlflow.start_run():
    logged = mlflow.onnx.log_model(
        onnx.load(file), name="model", registered_model_name=name, save_as_external_data=False
    )
print("version", logged.registered_model_version)
