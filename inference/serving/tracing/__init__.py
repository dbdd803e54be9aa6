"""Spans for an OpenTelemetry collector.

Input: what a request or a task did and the trace of its caller.
Output: spans over HTTP, sent by a thread with a bounded queue, so that a slow collector delays nobody. OpenTelemetry
is imported only where traces are on.

Start with `spans.py`; `options.py` says where traces go.
"""
