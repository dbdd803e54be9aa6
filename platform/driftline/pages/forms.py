"""What forms share: a field for a moment, and how a refusal of the domain is shown at the field that it is about."""

from django import forms

from driftline.common.errors import Problem

_FORMAT = "%Y-%m-%dT%H:%M"


def moment_field(label: str, help_text: str, *, required: bool) -> forms.DateTimeField:
    """Return a field for a day and a time in UTC."""
    return forms.DateTimeField(
        label=label,
        help_text=help_text,
        required=required,
        input_formats=[_FORMAT, "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_FORMAT),
    )


def explain(form: forms.Form, problem: Problem) -> None:
    """Put the faults of a problem at their fields, and what belongs to none above the form."""
    for fault in problem.errors:
        name, _, place = fault.pointer.strip("/").partition("/")
        form.add_error(
            name if name in form.fields else None, f"{place}: {fault.detail}" if place else fault.detail
        )
    if not problem.errors:
        form.add_error(None, problem.detail)
