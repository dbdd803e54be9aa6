"""The Django project, which puts the stages of `inference` and `monitors` together into one product.

Input: HTTP requests for pages and the API (`urls.py`), tasks (`tasks.py`) and commands (`management/commands`).
Output: answers, and work for the stages below.

The folder has two layers. `accounts` and `common` are the base, which every stage may import. Everything else is the
top layer, which may import every stage, and which no stage imports.

Start with `asgi.py` for the way of a request, `celery.py` for what workers do, and `services/supervisor.py` for the
processes of an installation.
"""

from driftline.common import telemetry as telemetry
