"""Lists the registered models of a server, with a name for each that fits here."""

from driftline.base.keys.secrets_at_rest import decrypt_optional
from driftline.base.work.leased_work import WorkLease
from monitors.workflows.mlflow.registry_imports.catalogue import list_models
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from monitors.workflows.mlflow.registry_imports.naming import propose_names
from monitors.workflows.starting.patience import attempt_patiently


def list_registry(import_id: int) -> bool:
    """List a registry where that is due; returns whether it was."""
    return attempt_patiently(RegistryImport.objects.filter(pk=import_id), _list)


def _list(lease: WorkLease[RegistryImport]) -> None:
    found = lease.read()
    proposed = propose_names(list_models(found.url, secret_of(found), found.search))
    with lease.fenced() as row:
        ImportedModel.objects.bulk_create(
            [
                ImportedModel(
                    registry_import=row,
                    registered_model=registered,
                    name=one.name,
                    naming_fault=one.fault[:500],
                )
                for registered, one in sorted(proposed.items())
            ],
            ignore_conflicts=True,
        )
        lease.finish(RegistryImport.State.LISTED)


def secret_of(found: RegistryImport) -> str:
    """Return what the server is called with; raises `SecretUnreadable`."""
    return decrypt_optional(found.secret)
