"""How a refusal of the domain is shown at the field that it is about."""

from django import forms

from driftline.common.errors import Problem


def explain(form: forms.Form, problem: Problem) -> None:
    """Put the faults of a problem at their fields, and what belongs to none above the form."""
    for fault in problem.errors:
        name = fault.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, fault.detail)
    if not problem.errors:
        form.add_error(None, problem.detail)
