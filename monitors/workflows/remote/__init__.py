"""Training in a pipeline of one's own: a run hands out its snapshot, waits, and goes on with the ONNX that comes back.

Input: the model's workflow (`settings.py`), a run at its step `train`, and what the pipeline sends to
`/api/v1/runs/{id}` with the run's token.
Output: one start of the pipeline (`orchestrators`), and the artifact in the run's folder, which passed the intake.

A start is repeated with the same idempotency key and the same token, so that a worker which is killed after it starts
nothing twice.

Start with `training.py`; `receiving.py` has what the pipeline may send, and `orchestrators` a file for each service.
"""
