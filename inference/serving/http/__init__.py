"""The inference protocols over HTTP: in front of ASGI, and as an ASGI application for what falls through.

Input: bytes of a connection. Most requests for inference are answered in front of ASGI (`hot_request.py`). All others
come to `asgi.py`, which answers metadata, health, jobs and the remaining requests for inference, and passes what is
not below its paths to the application, which is Django.
Output: answers with the headers of their version; one of a kilobyte or more is compressed where the caller accepts it.

Start with `connection.py`, then `hot_request.py`; `asgi.py` is the second way in. Both share the rules of `headers.py`,
`incoming_body.py` and `compression.py`.
"""
