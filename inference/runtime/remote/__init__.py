"""Runs a version on another server: Triton, KServe, MLServer, TensorFlow Serving, TorchServe or another Driftline.

Input: arrays and the endpoint of a version.
Output: arrays of exactly the type and shape that its signature names, or an error in words for our own caller.

Connections go to checked addresses only, every wait ends, and few calls are repeated.

Start with `session.py`; `protocols.py` lists the protocols, a module each.
"""
