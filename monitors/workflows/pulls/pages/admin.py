"""The rows of pulls in the admin."""

from driftline.web.admin.reading import register
from monitors.workflows.pulls.models import Pull

register(Pull, ("model", "source", "url", "state", "version", "run"), ("state", "source", "model"))
