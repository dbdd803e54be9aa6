"""Topics of MQTT 5: one consumer takes what the broker keeps in a session, and acknowledges what is stored.

Input: a broker, topics and how to sign in, as people set them. Output: messages. A broker sends a message again that
was not acknowledged; rows are known by their id, so that it counts once. The client's library is loaded only where
topics are read.

Start with `settings.py`, then `adapter.py`; `connection.py` calls the broker.
"""
