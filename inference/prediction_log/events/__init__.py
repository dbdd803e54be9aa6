"""Takes the payload logger of KServe: CloudEvents, of which one holds a request and another one its answer.

Input: halves of events over HTTP, in any order. A half waits in a table until the other half comes, or is deleted
after a while.
Output: predictions to the log, as if the application had logged them.

Start with `api.py`, then `joining.py`; `payloads.py` reads the bodies.
"""
