"""The ASGI application: Django, behind the inference routes that `inference.serving` answers first."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")

from django.core.asgi import get_asgi_application

from driftline.api.body_cap import cap_bodies

application = cap_bodies(get_asgi_application())
