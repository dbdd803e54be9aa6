"""How the installation is watched from outside: Prometheus metrics, traces and request ids.

Input: the counts that serving processes write to files, rows that wait in the database, and the requests and tasks of
this process.
Output: `/metrics` (`metrics.py`) and `/metrics/models` (`model_metrics.py`), spans for an OpenTelemetry collector, and
an id for each request.

Start with `metrics.py`.
"""
