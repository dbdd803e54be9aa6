"""The hot path: answers requests for inference. No Django, no database.

Input: requests over HTTP and gRPC, and the plan file, which says which version answers for whom (`plan.py`). A
connection (`http`, `grpc`) reads a request, the routing table (`routing.py`) admits it, the `engine` runs the model
of a version (`versions`) for all requests that wait for it, and the record goes to the spool.
Output: answers, records of the spool, copies for shadows, and a status file each second (`status`).

`main.py` is the parent that starts the processes, `worker.py` one serving process. `jobs` answers later, and
`descriptions` tells what models there are.

Start with `worker.py`, then `engine/engine.py`.
"""
