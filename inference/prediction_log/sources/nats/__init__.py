"""Streams of NATS JetStream: one consumer reads a stream on behind the sequence that the table has.

Input: a server, a stream and how to sign in, as people set them. Output: messages. The client's library is loaded only
where a stream is read.

Start with `settings.py`, then `adapter.py`; `connection.py` calls the server.
"""
