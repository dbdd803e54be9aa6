"""The protocols that callers speak: Open Inference Protocol, TensorFlow Serving, TorchServe and MLflow.

Input: bytes of a request and the signature of a version.
Output: typed inputs for the engine, and after the run the bytes of the answer in the caller's protocol.

Nothing here knows Django, a database or a clock. All of it computes alone, but for `json_forms/long_documents.py`:
while a long request is read, in a thread, it sleeps after each piece.

Start with `dialect.py`, the interface that each protocol implements; `dialect_list.py` lists those over HTTP, and
`v2/open_inference.py` is the one to read first.
"""
