"""The rows of registry imports in the admin."""

from driftline.web.admin.reading import register
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport

register(RegistryImport, ("project", "url", "state", "which", "follows", "created_by"), ("state", "project"))
register(ImportedModel, ("registry_import", "registered_model", "name", "state", "model"), ("state",))
