"""Serves models, logs what they predict, and keeps the models: all that must work while monitoring does not.

The life of a request: a socket of a serving process receives it (`serving`), a dialect turns its body into arrays
(`protocol`), the routing table finds the version, a lane gathers requests into one batch, and a session runs the
model (`runtime`). The record of the batch goes to the spool on disk; then the answer leaves, and shadows get a copy.
The drain moves the record into the log (`prediction_log`), and a signal of the log wakes `monitors`. A serving process
knows versions, tokens and deployments from a file, the plan, which `registry` publishes after each change.

Input: requests, uploads, labels and imported files.
Output: answers, rows of the log, and signals; `monitors` is never imported.

Start with `serving/engine/engine.py` for the hot path and `registry/services.py` for versions.
"""

from driftline.base import telemetry as telemetry
