"""Runs models: arrays in, arrays out.

Input: the bytes of an ONNX file, or the address of another server, and batches of arrays.
Output: arrays, or an error that names the fault.

Every session has the same interface: `session.py` runs a model in this process, `isolated` in a process of its own,
`remote` on another server. No Django, no database, no HTTP of our callers.

Start with `session.py`.
"""
