"""The pages of imports of whole registries of MLflow: asked for, followed, and their models chosen.

Input: an address and what to take. Output: imports, made by the services of `registry_imports`.

Start with `mlflow_imports.py`.
"""
