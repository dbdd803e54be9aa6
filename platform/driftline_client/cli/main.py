"""The arguments of `driftline`, and what becomes of its errors."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import driftline_client
from driftline_client.cli import commands, configuration
from driftline_client.cli.output import Status, print_json
from driftline_client.errors import DriftlineError, NotAnswered

DONE, FAILED, NOT_ANSWERED, INTERRUPTED = 0, 1, 3, 130
TASKS = ("binary", "multiclass", "regression", "ranking")
EPILOG = """\
The address and the token come from DRIFTLINE_URL and DRIFTLINE_TOKEN, else from `driftline login`.

exit codes:
  0  done
  1  refused, or the work failed: rows were rejected, a run was not promoted
  2  wrong usage
  3  nobody answers at the address
"""
FILE_EPILOG = """\
columns of a file of predictions:
  timestamp, prediction               always
  id, version, probability or probability_<class>, latency_ms, role, subject, tag_<name>, label, label_timestamp
                                      where there are
  any other                           a feature
columns of a file of labels:
  id, label                           always
  timestamp                           when the label became known
A file with other names, or with semicolons, is shown as it is understood, and imported with --yes.
"""

CONFIG_EPILOG = """\
A value that is ${NAME} alone is taken from the environment, such as a channel's target: target: ${SLACK_URL}
What the file does not mention stays. Of a list that it has, such as the rules of a model, it has all.
"""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    options = _parser().parse_args(arguments)
    sys.exit(_run(options.command, options))


def _run(command: Command, options: argparse.Namespace) -> int:
    status = Status()
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    except DriftlineError as error:
        status.line(f"driftline: {_with_remedy(error)}")
        if options.json:
            print_json({"error": str(error), "status": error.status})
        return NOT_ANSWERED if isinstance(error, NotAnswered) else FAILED
    except KeyboardInterrupt:
        status.line("driftline: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # of `driftline models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return DONE


def _with_remedy(error: DriftlineError) -> str:
    """Add what to do to an error that does not say it."""
    remedies = {
        401: "Make a token on the page Settings > Tokens, then run: driftline login",
        403: "Use a token that has this scope: Settings > Tokens",
    }
    remedy = remedies.get(error.status or 0)
    if isinstance(error, NotAnswered):
        remedy = "Check the address (DRIFTLINE_URL, or driftline login), and that Driftline is running."
    return f"{error} {remedy}" if remedy else str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="driftline",
        description="Log files to Driftline, and see its models, incidents and runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"driftline {driftline_client.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="command")

    def add(
        name: str, command: Command, summary: str, epilog: str = "", within: Any = subparsers
    ) -> argparse.ArgumentParser:
        description = f"{summary[0].upper()}{summary[1:]}."
        options: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": epilog}
        subparser: argparse.ArgumentParser = within.add_parser(
            name, help=summary, description=description, **options
        )
        subparser.add_argument("--json", action="store_true", help="print one JSON document, for scripts")
        subparser.set_defaults(command=command)
        return subparser

    login = add("login", commands.login, "store the address and a token in your own folder of settings")
    login.add_argument("--url", help="address, such as https://driftline.example.org; asked for by default")
    login.epilog = (
        "The token is asked for, or read from standard input: driftline login --url URL < token.txt"
    )

    log = add(
        "log", commands.log, "import a CSV or Parquet file of predictions, and wait for it", FILE_EPILOG
    )
    _add_file(log)
    _add_choices(log)
    log.add_argument("--version", help="version that made rows without one; the champion by default")
    log.add_argument("--task", choices=TASKS, help="create the model with this task where there is none")

    labels = add(
        "labels", commands.labels, "import a CSV or Parquet file of labels, and wait for it", FILE_EPILOG
    )
    _add_file(labels)
    _add_choices(labels)

    reference = add(
        "reference", commands.reference, "upload the data that a version was trained on, and wait for it"
    )
    _add_file(reference)
    reference.add_argument("--version", help="version that was trained on it; the champion by default")
    reference.add_argument(
        "--positive-class",
        default="",
        help="class that the column probability is of; as its rows show by default",
    )
    reference.add_argument(
        "--task", choices=TASKS, help="create the model with this task where there is none"
    )

    add("models", commands.models, "list the project's models")

    incidents = add("incidents", commands.incidents, "list unresolved incidents, newest first")
    incidents.add_argument("--model", help="only those of this model")
    incidents.add_argument("--all", action="store_true", help="resolved ones too")

    run = add(
        "run", commands.run, "start a retrain run, and follow its steps until it ends or needs a person"
    )
    run.add_argument("--model", required=True, help="model to retrain")
    run.add_argument("--id", type=int, help="follow this run in place of starting one")
    run.add_argument("--version", help="compare this uploaded version in place of training one")
    run.add_argument("--no-wait", action="store_true", help="start it, and return at once")

    summary = "keep models' settings, rules, channels and silences in a file"
    config = subparsers.add_parser("config", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    actions = config.add_subparsers(required=True, metavar="action")
    add("export", configuration.export, "print the project's configuration as YAML", within=actions)
    plan = add(
        "plan", configuration.plan, "tell what applying a file would do", CONFIG_EPILOG, within=actions
    )
    plan.add_argument("file", help="path of a YAML file, or - for standard input")
    apply = add(
        "apply", configuration.apply, "make the project as a file says", CONFIG_EPILOG, within=actions
    )
    apply.add_argument("file", help="path of a YAML file, or - for standard input")
    apply.add_argument("--yes", action="store_true", help="apply it without asking")
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="path of a .csv or .parquet file")
    parser.add_argument("--model", required=True, help="name of the model")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--column", action="append", default=[], type=_named_role, metavar="NAME=ROLE",
        help="what a column is, such as approved=label or row=ignored; the others are guessed and shown",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="import the file as its columns are guessed")


def _named_role(argument: str) -> tuple[str, str]:
    name, mark, role = argument.rpartition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{argument!r} is not NAME=ROLE, such as approved=label")
    return name, role
