"""Sends the audit trail of the whole installation elsewhere, entry by entry: as syslog, and as OpenTelemetry logs.

Input: entries that have their number in the chain, and the settings DRIFTLINE_AUDIT_*.
Output: messages to the receivers, at least once and in the order of the chain; how far each of them is.

The chain of the trail gives an entry its number in a transaction of its own once it is committed, without a
gap and one process at a time. So numbers become visible in their order, and the last one that was sent is an exact
position.

Start with `sending.py`, the loop; `syslog.py` and `otlp.py` speak to the receivers.
"""
