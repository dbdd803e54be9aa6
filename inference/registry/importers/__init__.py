"""Imports models from the folders of other servers: `manage.py import_models`.

Input: a folder of MLflow, MLServer, TensorFlow Serving or Triton. The module of each server describes its models in
one common form, `planning.py` examines their ONNX in the sandbox, and `registering.py` registers what passed.
Output: versions, and a reason for each model that was not imported.

Nothing in a folder is trusted: sizes are capped, and a link that leaves the folder is refused.

Start with `layouts.py`, then `planning.py`.
"""
