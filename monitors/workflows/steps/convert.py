"""The step `convert`: the trained model is ONNX now; check how faithfully it answers."""

from monitors.workflows.context import RunContext, StepFailed, StepOutcome, done, to_json
from monitors.workflows.training import result_of

TOLERATED_SHARE = 0.001


def convert(context: RunContext) -> StepOutcome:
    """Check the parity that the trainer's child measured on real, missing and unseen values."""
    parity = result_of(context).report.parity
    if not parity.share_over_tolerance <= TOLERATED_SHARE:
        raise StepFailed(
            f"{parity.share_over_tolerance:.2%} of {parity.rows} rows differ by more than {parity.tolerance:.1g} "
            "between the trained model and its ONNX form; use another trainer."
        )
    return done(to_json({name: getattr(parity, name) for name in parity.__struct_fields__}))
