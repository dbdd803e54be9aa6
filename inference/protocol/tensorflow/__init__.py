"""TensorFlow Serving, over HTTP and gRPC, and KServe's protocol V1.

Input: bodies and messages. Output: typed requests, and answers in the same form.

Start with `tensorflow_rest.py`.
"""
