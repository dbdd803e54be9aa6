"""The inference protocols over gRPC, in the event loop of a serving process.

Input: calls of the Open Inference Protocol and of TensorFlow Serving.
Output: messages of the same protocol; the engine answers as it does over HTTP. It is imported only where the port is
on, because grpcio takes memory and time to load.

Start with `server.py`; `calls.py` has what all methods share.
"""
