"""The Django project, which puts the stages of `inference` and `monitors` together into one product.

Input: HTTP requests for pages and the API (`urls.py`), tasks (`tasks.py`) and commands (`management/commands`).
Output: answers, and work for the stages below.

The folder has floors. `base` is the lowest, which every stage may import; `sign_in`, `operations`, `web` and `demo`
stand on the stages, each on those named before it; what lies beside them puts all together.

Start with `asgi.py` for the way of a request, `celery.py` for what workers do, and `operations/services/supervisor.py`
for the processes of an installation.
"""

from driftline.base import telemetry as telemetry
