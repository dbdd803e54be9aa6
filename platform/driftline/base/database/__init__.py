"""Django's backend for PostgreSQL, which does not wait for a server that stands still.

Input: the connections that Django opens for the setting `DATABASES`.
Output: connections that do not wait for ever: `watch.py` ends the wait when the server does not answer a probe.
`base.py` is the class that Django loads. `replica.py` sends reads of pages to a standby, where one is set.

Start with `watch.py`.
"""
