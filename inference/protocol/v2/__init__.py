"""The Open Inference Protocol, version 2, over HTTP and gRPC, as JSON and with binary tensors.

Input: bodies and messages. Output: typed requests, and answers in the same form.

Start with `open_inference.py`.
"""
