"""The HTTP API under `/api/v1`: the routers of all stages in one API, with one form of errors.

Input: HTTP requests in front of Django (`front/probes.py`, `front/log_routes.py`, `front/request_pools.py`) and in
Django (`v1.py`).
Output: JSON bodies, and for every failure problem details.

Models and incidents have their routes here, because they join what several stages know; every other route lies in the
module `api` of its stage.

Start with `v1.py`.
"""
