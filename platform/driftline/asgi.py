"""The ASGI application: Django, behind the inference routes that `inference.serving` answers first."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")

from typing import cast

from django.core.asgi import get_asgi_application

from driftline.api.body_cap import cap_bodies
from driftline.api.kept_threads import keep_threads
from inference.serving.asgi import App

application = cap_bodies(keep_threads(cast(App, get_asgi_application())))
