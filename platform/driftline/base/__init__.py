"""The lowest floor: what every stage may use, and which imports no stage.

Each module is named for what it does. `errors.py` has the error that becomes the answer to a caller, `hooks.py` lets a
later stage provide a function to an earlier one. `work/` keeps work in PostgreSQL until it is done, `http/` reads
requests, `keys/` seals secrets, `outbound/` asks other servers, `database/` and `processes/` hold what their names say.

Start with `errors.py`, `hooks.py` and `work/`.
"""
