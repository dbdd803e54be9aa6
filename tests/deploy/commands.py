"""Says whether a role's command is one that this release has, with options that it takes."""

import shlex
from collections.abc import Sequence

from celery.bin.celery import celery as celery_commands
from click import Context
from django.core.management import get_commands, load_command_class

from driftline.settings import environment
from driftline.settings.parsing import Setting

KNOWN_SETTINGS = {one.name for one in vars(environment).values() if isinstance(one, Setting)}
SHELL = ("/bin/sh", "-c")


def commands_in(words: Sequence[str]) -> list[list[str]]:
    """Return the commands of Driftline and Celery in a command line, each from the word after `python`; a line for a
    shell has several."""
    if tuple(words[:2]) == SHELL:
        lexer = shlex.shlex(words[2], posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words = list(lexer)
    found: list[list[str]] = []
    inside = False
    for word in words:
        if word and set(word) <= set(";&|<>"):
            inside = False
        elif word == "python" or word.endswith("/python"):
            inside = True
            found.append([])
        elif inside:
            found[-1].append(word)
        elif word in ("manage.py", "-m") and not found:  # the image's entry point is python
            inside = True
            found.append([word])
    return [one for one in found if one and one[0] in ("manage.py", "-m")]


def check_command(words: Sequence[str]) -> None:
    """Parse a command as it would be parsed when it starts; fails where it would not start."""
    if words[0] == "manage.py":
        name, *arguments = words[1:]
        command = load_command_class(get_commands()[name], name)
        command.create_parser("manage.py", name).parse_args(arguments)
        return
    module, app_option, app, name, *arguments = words[1:]
    assert (module, app_option, app) == ("celery", "-A", "driftline.celery")
    command = celery_commands.commands[name]
    command.make_parser(Context(command)).parse_args([*arguments])
