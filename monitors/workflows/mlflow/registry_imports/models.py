"""Imports of MLflow registries: what was listed, what was chosen, and what became of each version."""

from urllib.parse import quote

from django.db import models
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.keys.sealed_field import SealedField
from driftline.base.work.leased_work import LeasedQuerySet
from inference.registry.models import Model, ModelTask, Version
from monitors.workflows.starting.patience import PatientWork


class RegistryImport(PatientWork):
    """A registry of which a person chooses models; the work of this row is to list them."""

    class State(models.TextChoices):
        WAITING = "waiting", "its models are being listed"
        LISTED = "listed"
        FAILED = "failed"

    class Which(models.TextChoices):
        ALIASES = "aliases", "those with the alias champion, production or challenger, else the newest"
        ALL = "all", "all that are ready, up to the newest 50"

    UNFINISHED = (State.WAITING,)

    project = models.ForeignKey(Project, models.CASCADE, related_name="registry_imports")
    url = models.CharField(max_length=500, help_text="of the tracking server")
    secret = SealedField(default=b"", blank=True, help_text="encrypted; empty where none is set")
    search = models.CharField(max_length=100, blank=True, help_text="only names that hold this are listed")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    which = models.CharField(max_length=10, choices=Which, default=Which.ALIASES)
    follows = models.BooleanField(default=False, help_text="connect each model to its registered model")
    task = models.CharField(
        max_length=20,
        choices=ModelTask,
        blank=True,
        help_text="of new models where the file does not tell it",
    )
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    objects = LeasedQuerySet.as_manager()

    class Meta:
        verbose_name = "registry import"

    def __str__(self) -> str:
        return f"import of {self.url}"


class ImportedModel(PatientWork):
    """A registered model that was listed; once it is chosen, it is to be imported."""

    class State(models.TextChoices):
        LISTED = "listed", "it was not chosen"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    UNFINISHED = (State.WAITING,)

    registry_import = models.ForeignKey(RegistryImport, models.CASCADE, related_name="registered_models")
    registered_model = models.CharField(max_length=250)
    name = models.CharField(max_length=100, blank=True, help_text="of the model here; empty: none fits")
    naming_fault = models.CharField(
        max_length=500, blank=True, help_text="why it has no name, or another one"
    )
    state = models.CharField(max_length=10, choices=State, default=State.LISTED)
    note = models.CharField(max_length=500, blank=True, help_text="what else there is to know")
    model = models.ForeignKey(Model, models.SET_NULL, null=True, blank=True, related_name="registry_imports")

    objects = LeasedQuerySet.as_manager()

    class Meta:
        verbose_name = "registered model"
        constraints = [
            models.UniqueConstraint(
                fields=["registry_import", "registered_model"], name="registered_model_listed_once"
            )
        ]

    def __str__(self) -> str:
        return f"import of {self.registered_model}"


class ImportedVersion(models.Model):
    """A version that was chosen of a registered model, in the order in which they come, and what became of it."""

    class Outcome(models.TextChoices):
        WAITING = "waiting"
        IMPORTED = "imported"
        KNOWN = "known", "the model has it already"
        REFUSED = "refused"

    imported = models.ForeignKey(ImportedModel, models.CASCADE, related_name="versions")
    position = models.IntegerField()
    number = models.CharField(max_length=20, help_text="of MLflow")
    aliases = models.CharField(max_length=200, blank=True, help_text="in MLflow, separated by commas")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.WAITING)
    reason = models.CharField(max_length=500, blank=True, help_text="why it was refused")
    version = models.ForeignKey(
        Version, models.SET_NULL, null=True, blank=True, related_name="imported_versions"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["imported", "number"], name="imported_version_once")]

    def __str__(self) -> str:
        return f"version {self.number} of {self.imported.registered_model}"

    @property
    def page(self) -> str:
        """The address of the version in MLflow."""
        name = quote(self.imported.registered_model, safe="")
        return f"{self.imported.registry_import.url}/#/models/{name}/versions/{self.number}"
