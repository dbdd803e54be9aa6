"""The step `register`: the challenger becomes a version, once, with the lineage that tells where it comes from."""

import msgspec

from inference.registry.contract.differences import contract_difference
from inference.registry.lineage import Lineage, TrainingWindow
from inference.registry.models import Version
from inference.registry.validation import ValidationFailed, check_answers
from inference.registry.versions import upload_version
from monitors.workflows.context import Evidence, RunContext, StepFailed, StepOutcome, done
from monitors.workflows.models import Run
from monitors.workflows.starting.training import result_of


def register(context: RunContext) -> StepOutcome:
    """Upload the trained model like any other: the registry opens it first in its own sandbox."""
    version = _registered(context) or _upload(context)
    if version.pk == context.run.champion_id:
        raise StepFailed("Training gave the champion again, byte for byte: its data has not changed.")
    if refused := contract_refusal(context.run.champion, version):
        raise StepFailed(f"{refused}; upload a champion that the trainers can follow.")
    try:
        check_answers(version)
    except ValidationFailed as failure:  # else a promotion would say so, after it was approved
        raise StepFailed(failure.detail) from failure

    def name_challenger(run: Run) -> Evidence:
        run.challenger = version
        run.save(update_fields=["challenger"])
        return {}

    evidence = {"version": version.version, "sha256": version.sha256, "size": version.size}
    return done(evidence, effect=name_challenger)


def _registered(context: RunContext) -> Version | None:
    """The version that an attempt which was killed has already registered."""
    return context.model.versions.filter(lineage__run=context.run.pk).first()


def _upload(context: RunContext) -> Version:
    result = result_of(context)
    snapshot = context.evidence_of("snapshot")
    parity = result.report.parity
    remote = getattr(context.run, "remote_training", None)
    lineage = Lineage(
        run=context.run.pk,
        trigger=context.run.trigger,
        parent=context.run.champion.version,
        trainer=result.report.trainer,
        parameters=result.report.parameters,
        seed=result.report.seed,
        data=TrainingWindow(
            **{name: snapshot[name] for name in ("dataset", "sha256", "start", "end", "training_rows")}
        ),
        libraries=result.report.libraries,
        parity={"rows": parity.rows, "max_difference": parity.max_difference} if parity else {},
        uri=remote.lineage_uri if remote else "",
    )
    with result.model_path.open("rb") as stream:
        version, _ = upload_version(
            model=context.model,
            stream=stream,
            metadata=msgspec.json.encode(result.metadata),
            lineage=lineage,
            actor=context.actor,
            expected_sha256=remote.artifact_sha256 if remote else None,
        )
    return version


def contract_refusal(champion: Version, challenger: Version) -> str:
    """Return why the champion's callers could not call a version, before days in the shadow; empty if they can."""
    if not (champion.signature and challenger.signature):
        return ""
    difference, values = contract_difference(champion.signature, challenger.signature)
    return (
        f"Version {challenger.version} has {difference} than the champion {champion.version} ({values}), so it could "
        "never take its place"
        if difference
        else ""
    )
