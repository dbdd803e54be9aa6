"""The rows of lakes in the admin."""

from driftline.web.admin.reading import register
from inference.prediction_log.lake.models import Lake, LakeFile

register(Lake, ("project", "error", "failing_since", "created_at"), ("project",), secret=("secret",))
register(
    LakeFile,
    ("path", "model", "day", "state", "is_open", "rows", "written_at"),
    ("state", "is_open", "model"),
    ("path",),
)
