"""The rows of reports in the admin."""

from driftline.web.admin.reading import register
from monitors.reports.models import Report

register(Report, ("model", "start", "end", "state", "size", "created_at"), ("state", "model"))
