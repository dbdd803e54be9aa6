"""What forms share: a field for a moment, and how a refusal of the domain is shown at the field that it is about."""

from django import forms

from driftline.base.errors import Problem

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
        is_named = place and not place.isdecimal()  # nobody counts lines from 0
        form.add_error(
            name if name in form.fields else None, f"{place}: {fault.detail}" if is_named else fault.detail
        )
    if not problem.errors:
        form.add_error(None, problem.detail)


def explain_settings(form: forms.Form, error: Exception) -> None:
    """Put what a problem, or pydantic, refuses at the fields of a form, which is flat where settings are nested."""
    if isinstance(error, Problem):
        explain(form, _at_fields(error))
        return
    for fault in error.errors():  # type: ignore[attr-defined]  # pydantic's
        name = str(fault["loc"][0]) if fault["loc"] else None
        form.add_error(name if name in form.fields else None, str(fault["msg"]))


def _at_fields(problem: Problem) -> Problem:
    faults = []
    for fault in problem.errors:
        parts = [part for part in fault.pointer.split("/")[1:] if part not in ("settings", "mapping")]
        faults.append(type(fault)(f"/{parts[0]}" if parts else "", fault.code, fault.detail))
    return Problem(problem.status, problem.code, problem.detail, faults)
