#!/usr/bin/env python
"""Driftline's command line: `manage.py help` lists what it can do."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))  # it says what to write; a traceback would hide it
    except ModuleNotFoundError as error:
        from importlib.util import find_spec

        if find_spec("allauth"):
            raise
        sys.exit(
            f"This command needs {error.name}, and only the packages of a serving host are installed: run .ci/setup."
        )


if __name__ == "__main__":
    main()
