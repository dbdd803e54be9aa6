import hashlib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.durable_files import write_file
from driftline.base.errors import Problem
from driftline.base.extras import PDF, describe_missing
from driftline.base.periods import Period
from driftline.management.import_command import add_model_arguments, find_model
from driftline.management.moments import read_moment
from monitors.reports.evidence.pack import make_pack
from monitors.reports.evidence.sections import EvidenceSubject
from monitors.reports.services import check_period


class Command(BaseCommand):
    help = (
        "make_evidence FOLDER --model M --from A: writes the evidence pack of a period as HTML, PDF and JSON, without "
        "a worker."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="where the files are written")
        add_model_arguments(parser)
        parser.add_argument(
            "--from",
            dest="start",
            required=True,
            help="RFC 3339 with a zone, or a distance back, as in --from=-90d",
        )
        parser.add_argument("--to", dest="end", help="the same; now where it is not given")

    def handle(self, *args: Any, **options: Any) -> None:
        model, moment = find_model(options), now()
        start, end = read_moment(options["start"]), read_moment(options["end"]) or moment
        assert start is not None
        period = Period(start, end)
        try:
            check_period("/to", period)
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        folder: Path = options["folder"]
        name = f"{model.name}-evidence-{start:%Y%m%d}-{end:%Y%m%d}"
        page, document, paper = (folder / f"{name}.{suffix}" for suffix in ("html", "json", "pdf"))
        # A pack that was handed out, or one of another project's model of this name, is not replaced.
        if there := [file.name for file in (page, document, paper) if file.exists()]:
            raise CommandError(f"{folder} holds {there[0]} already; name another folder.")
        pack = make_pack(EvidenceSubject(model, period, moment))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_file(page, pack.html.encode(), mode=0o600)
            write_file(document, pack.json, mode=0o600)
            if pack.pdf:
                write_file(paper, pack.pdf, mode=0o600)
        except OSError as error:
            raise CommandError(f"The files cannot be written: {error}.") from error
        record_audit(
            project=model.project,
            actor="command line",
            action="evidence.made",
            subject=model.name,
            after={
                "sha256_of_json": pack.sha256,
                "sha256_of_html": hashlib.sha256(pack.html.encode()).hexdigest(),
                "sha256_of_pdf": hashlib.sha256(pack.pdf).hexdigest() if pack.pdf else "",
            },
        )
        if not pack.pdf:
            self.stderr.write(describe_missing(PDF))
        made = [file.name for file in (page, document, paper) if file.exists()]
        self.stdout.write(
            f"{len(made)} files in {folder}: {', '.join(made)}; SHA-256 of the JSON {pack.sha256}."
        )
