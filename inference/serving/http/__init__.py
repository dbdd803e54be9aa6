"""The inference protocols over HTTP: in front of ASGI, and as an ASGI application for what falls through.

Input: bytes of a connection. A request for inference is answered at once (`hot_request.py`); everything else goes to
the application, which is Django.
Output: answers with the headers of their version, compressed where the caller asks for it.

Start with `connection.py`, then `hot_request.py`; `asgi.py` is the second way in. Both
share the rules of `headers.py`, `incoming_body.py` and `compression.py`.
"""
