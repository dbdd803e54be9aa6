"""How amounts of bytes read on pages, in messages and in the output of commands."""

from django.template.defaultfilters import filesizeformat


def format_bytes(count: float) -> str:
    """Write a number of bytes with its unit, in powers of 1,024: `12.1 GB`."""
    return filesizeformat(count).replace("\xa0", " ")
