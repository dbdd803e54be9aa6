"""The page of MLflow: the registered model that a model follows.

Input: what people choose. Output: a connection, kept and tried by the services of `mlflow`.

Start with `mlflow.py`.
"""
