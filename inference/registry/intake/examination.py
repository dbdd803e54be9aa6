"""The child's work from bytes to findings, one stage after another."""

from inference.registry.intake import sandbox
from inference.registry.intake.formats import refuse_other_formats
from inference.registry.intake.graph import examine_graph, parse_model
from inference.registry.intake.limits import IntakeLimits
from inference.registry.intake.rehearsal import rehearse
from inference.registry.intake.report import Findings, SandboxFacts
from inference.registry.intake.session import describe_inputs, describe_outputs, open_session


def examine(content: bytes, limits: IntakeLimits, columns: int | None, facts: SandboxFacts) -> Findings:
    """Screen, load and rehearse the model in `content`; raises `IntakeRefused`."""
    refuse_other_formats(content)
    model = parse_model(content)
    graph = examine_graph(model, limits)
    session = open_session(content)
    inputs = describe_inputs(session, limits)
    outputs = describe_outputs(session, limits)
    sandbox.allow_cpu(limits.run_cpu_s)
    dry_runs, observed = rehearse(session, model.graph, inputs, columns)
    return Findings(graph, inputs, outputs, dry_runs, observed, facts)
