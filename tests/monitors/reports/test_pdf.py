"""An evidence pack as PDF: what a reader finds in it, and what does not fit."""

from io import BytesIO
from typing import Any

import pytest
from pypdf import PdfReader

from monitors.reports.evidence.drawing import DrawnCell, DrawnLink, DrawnPack, DrawnSection, DrawnTable
from monitors.reports.evidence.pdf import MAX_PDF_ROWS, write_pdf

DIGEST = "0123456789abcdef" * 4


def pack(*tables: DrawnTable, **changed: Any) -> DrawnPack:
    section = DrawnSection(
        "drift", "1. Drift", changed.pop("sentences", ["12 windows were measured."]), tables
    )
    return DrawnPack(
        **({"title": "Evidence on approvals", "about": "Project Bank", "digest": DIGEST} | changed),
        sections=[section],
    )


def table(*rows: str, left_out: int = 0) -> DrawnTable:
    return DrawnTable("By metric", [DrawnCell("metric")], [[DrawnCell(row)] for row in rows], left_out)


def read(made: DrawnPack) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(BytesIO(write_pdf(made))).pages)


def test_has_the_title_the_sections_and_the_digest() -> None:
    document = PdfReader(BytesIO(write_pdf(pack(table("psi")))))
    text = "\n".join(page.extract_text() for page in document.pages)

    assert document.metadata is not None
    assert document.metadata.title == "Evidence on approvals"
    for part in (
        "Evidence on approvals",
        "Project Bank",
        "1. Drift",
        "12 windows were measured.",
        "By metric",
        "psi",
    ):
        assert part in text
    assert DIGEST in text.replace("\n", "")


@pytest.mark.slow
def test_is_tagged_for_screen_readers_in_a_language() -> None:
    root = PdfReader(BytesIO(write_pdf(pack(table("psi"))))).root_object

    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"


@pytest.mark.parametrize(
    "text",
    [
        "*not bold*",
        "#panic(1)",
        "$x$",
        "<script>",
        "@label",
        "\\ // /* ",
        "= heading",
        '#read("/etc/passwd")',
    ],
)
def test_shows_what_people_wrote_as_text(text: str) -> None:
    written = read(pack(table(text), title=text.strip() or "x", sentences=[text]))

    assert written.count(text.strip()) >= 3


def test_a_long_hash_is_copied_as_one_word() -> None:
    assert DIGEST in read(pack(table(f"sha256 {DIGEST}"), digest="none")).replace("\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u4e2d\u6587",
        "\u0007bell",
        "\ud83d\ude80".encode("utf-16", "surrogatepass").decode("utf-16"),
        "a" * 5_000,
    ],
)
def test_any_text_can_be_set(text: str) -> None:
    assert "1. Drift" in read(pack(table(text), sentences=[text]))


def test_names_of_sections_lead_to_them() -> None:
    named = DrawnCell("1. Drift", links=[DrawnLink("drift", "1. Drift")])
    clauses = DrawnTable("Clauses", [DrawnCell("Sections")], [[named]], 0)

    page = PdfReader(BytesIO(write_pdf(pack(clauses)))).pages[0]

    links = [one.get_object()["/Subtype"] for one in page["/Annots"]]  # type: ignore[attr-defined]
    assert links == ["/Link", "/Link"]  # of the outline, and of the table


def test_tables_are_cut_and_say_how_many_rows_are_left_out() -> None:
    text = read(pack(table(*(f"row-{number}" for number in range(MAX_PDF_ROWS + 7)), left_out=5)))

    assert f"row-{MAX_PDF_ROWS - 1}" in text
    assert f"row-{MAX_PDF_ROWS}" not in text
    assert "12 more rows are left out here" in text


def test_a_table_without_rows_says_none() -> None:
    assert "None." in read(pack(table()))
