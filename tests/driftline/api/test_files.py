"""Files over HTTP: previewed as they will be stored, mapped, confirmed, and remembered; nothing is half-stored."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.imports import services, staging
from inference.prediction_log.imports.models import Import, UploadedFile
from inference.prediction_log.models import Label, PredictionRow
from inference.registry.models import Dataset, Model, Version
from monitors.definitions.models import Reference
from tests.driftline.api.conftest import Api, caller
from tests.driftline.api.shape import assert_problem

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
FILES = "/models/flights/files"


LOGGED = b"id,timestamp,prediction,x\n" + b"".join(
    b"p-%d,2026-01-05T00:00:%02dZ,1,2.5\n" % (n, n) for n in range(30)
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def model(flights: Model) -> Model:
    return flights


def training(rows: int = 60, *, delimiter: str = ";", encoding: str = "utf-8") -> bytes:
    """A file as a newcomer has it: semicolons, decimal commas, an id, a label called `approved`, local times."""
    lines = ["application_id;approved;income;region;date"]
    lines += [
        f"A{n:04d};{n % 3 // 2};{900 + n * 7},5;{'north' if n % 2 else 'süd'};{n % 28 + 1:02d}.01.2026 10:{n % 60:02d}"
        for n in range(rows)
    ]
    return "\n".join(lines).replace(";", delimiter).encode(encoding)


def parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def upload(api: Api, content: bytes, kind: str = CSV) -> dict[str, Any]:
    answer = api.post(FILES, content, content_type=kind)
    assert answer.status_code == 201, answer.json()
    return answer.json()


def roles(shown: dict[str, Any]) -> dict[str, str]:
    return {column["name"]: column["role"] for column in shown["columns"]}


def warnings(shown: dict[str, Any], column: str = "") -> str:
    own = {one["name"]: one["warnings"] for one in shown["columns"]}
    return " ".join(own[column] if column else shown["warnings"])


def stored() -> int:
    tables = (Dataset, Import, PredictionRow, Reference, Version, Label)
    return sum(table.objects.count() for table in tables)


class TestPreview:
    @pytest.mark.parametrize(
        ("delimiter", "encoding", "written"),
        [
            (";", "utf-8", "utf-8"),
            (";", "utf-8-sig", "utf-8"),
            (";", "utf-16", "utf-16-le"),
            ("\t", "utf-16-be", "utf-16-be"),
            ("|", "cp1252", "cp1252"),
        ],
    )
    def test_shows_rows_as_they_will_be_stored_however_the_file_is_written(
        self, delimiter: str, encoding: str, written: str, api: Api
    ) -> None:
        shown = upload(api, training(delimiter=delimiter, encoding=encoding))

        assert shown["format"] == {
            "kind": "csv", "encoding": written, "delimiter": delimiter, "decimal": ",", "has_header": True,
        }  # fmt: skip
        assert roles(shown) == {
            "application_id": "id", "approved": "label", "income": "feature", "region": "feature", "date": "timestamp",
        }  # fmt: skip
        assert shown["stored_columns"] == ["id", "label", "income", "region", "timestamp"]
        assert shown["rows"][0] == ["A0000", "0", "900.5", "süd", "2026-01-01T10:00:00Z"]
        assert len(shown["rows"]) == 20
        assert stored() == 0

    def test_says_why_and_what_to_look_at(self, api: Api) -> None:
        shown = upload(api, training())

        reasons = {column["name"]: column["why"] for column in shown["columns"]}
        assert reasons["application_id"] == "It is unique in every row."
        assert reasons["approved"] == "It has two values and the name of an outcome."
        assert "Its times have no zone" in warnings(shown, "date")

    def test_follows_what_is_chosen(self, api: Api) -> None:
        file = upload(api, training())["id"]
        columns = {"application_id": "feature", "region": "tag", "approved": "prediction"}
        body = {"kind": "predictions", "time_zone": "Europe/Berlin", "columns": columns}

        shown = api.post(f"{FILES}/{file}/preview", body).json()

        assert shown["stored_columns"] == [
            "application_id",
            "prediction",
            "income",
            "tag_region",
            "timestamp",
        ]
        assert shown["rows"][0][-1] == "2026-01-01T09:00:00Z"
        assert "It is unique in every row, as an id is" in warnings(shown, "application_id")

    def test_warns_of_a_label_among_the_features(self, api: Api) -> None:
        file = upload(
            api, b"x,label,copy\n" + b"".join(b"%d,%d,%d\n" % (n * n, n % 2, n % 2) for n in range(40))
        )
        as_feature = {"columns": {"approved": "feature"}}
        newcomer = upload(api, training())["id"]

        assert "It equals the label 'label' in every row." in warnings(file, "copy")
        shown = api.post(f"{FILES}/{newcomer}/preview", as_feature).json()
        assert "It may be the label" in warnings(shown, "approved")

    def test_reads_each_of_two_date_formats_and_says_so(self, api: Api) -> None:
        times = ["2026-01-05T10:00:00Z", "31.01.2026 11:00"] * 15 + ["yesterday"]
        lines = [f"{time},1,{n}.5" for n, time in enumerate(times)]

        shown = upload(api, "\n".join(["timestamp,prediction,x", *lines]).encode())

        assert "Its times are written in two formats" in warnings(shown, "timestamp")
        assert "3% of its values are no times" in warnings(shown, "timestamp")
        assert [row[0] for row in shown["rows"][:2]] == ["2026-01-05T10:00:00Z", "2026-01-31T11:00:00Z"]

    @pytest.mark.parametrize(
        ("content", "kind", "column", "sentence"),
        [
            (b"only\n1\n2\n", CSV, "", "The file has one column, 'only'"),
            (b"1.5,2,3\n4.5,5,6\n", CSV, "", "The first row holds values and no names"),
            (b"x,label\n" + b"1,yes\n" * 30, CSV, "label", "Every label is 'yes'"),
            (b"id,label\n" + b"p-1,1\np-2,0\n" * 30, CSV, "id", "58 of 60 ids repeat"),
            (b"x,01/02\n1,2\n", CSV, "", "The first row"),
            (b"a;b\n1,234;x\n2,345;y\n", CSV, "", "is read as a number with decimals, not as thousands"),
            (b"time,x\n" + b"01/02/2026,1\n" * 30, CSV, "time", "may have the day or the month first"),
            (parquet({"x": [1.0], "items": [[1, 2]]}), PARQUET, "", "No column is the label"),
        ],
    )  # fmt: skip
    def test_says_what_is_odd_about_a_file(
        self, content: bytes, kind: str, column: str, sentence: str, api: Api
    ) -> None:
        if sentence == "The first row":
            content = b"7,8\n1,2\n"

        shown = upload(api, content, kind)

        assert sentence in warnings(shown, column)
        assert stored() == 0

    def test_leaves_out_nested_columns(self, api: Api) -> None:
        shown = upload(api, parquet({"x": [1.0, 2.0], "items": [[1, 2], []], "r": [{"a": 1}, None]}), PARQUET)

        assert roles(shown) == {"x": "feature", "items": "ignored", "r": "ignored"}
        assert shown["rows"] == [["1"], ["2"]]

    @pytest.mark.slow
    def test_shows_three_thousand_columns(self, api: Api) -> None:
        names = ",".join(f"c{n}" for n in range(3_000))
        values = "\n".join(",".join(str(n * row % 7) for n in range(3_000)) for row in range(30))

        shown = upload(api, f"{names}\n{values}\n".encode())

        assert len(shown["stored_columns"]) == 3_000

    def test_warns_of_another_models_file(self, api: Api) -> None:
        first = upload(api, training())
        api.post(f"{FILES}/{first['id']}/confirm", {"kind": "reference"})

        shown = upload(api, b"petal,sepal\n" + b"1.5,2.5\n" * 30)

        assert "2 of the 2 features that the model declares are not among its columns" in warnings(shown)


REFUSED = [
    ("an empty file", b"", CSV, "no_rows", "The file is empty"),
    ("a header alone", b"a,b\n", CSV, "no_rows", "columns but no rows"),
    ("duplicate headers", b"a,b,a\n1,2,3\n", CSV, "duplicate_column", "2 columns are named 'a'; rename them"),
    ("Excel", b"PK\x03\x04" + b"\0" * 60, CSV, "unsupported_media_type", "in Excel choose Save as, CSV UTF-8"),
    ("old Excel", b"\xd0\xcf\x11\xe0" + b"\0" * 60, CSV, "unsupported_media_type", "choose Save as, CSV UTF-8"),
    ("gzip", b"\x1f\x8b" + b"\0" * 60, CSV, "unsupported_media_type", "unpack it first"),
    ("a broken Parquet file", b"PAR1" + b"x" * 60, PARQUET, "invalid_file", "cannot be read"),
    ("6,000 columns", b",".join(b"c%d" % n for n in range(6_000)) + b"\n1\n", CSV, "too_many_columns", "Leave out"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "code", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_file_that_cannot_be_read_is_refused_and_not_kept(
    content: bytes, kind: str, code: str, sentence: str, api: Api, home: Path
) -> None:
    answer = api.post(FILES, content, content_type=kind)

    problem = assert_problem(answer, 415 if code == "unsupported_media_type" else 422, code)
    assert sentence in problem["detail"]
    assert not UploadedFile.objects.exists()
    assert not list(home.glob("imports/*"))
    assert stored() == 0


class TestConfirm:
    def test_a_reference_is_stored_as_it_was_shown(self, api: Api, home: Path) -> None:
        file = upload(api, training())["id"]

        answer = api.post(f"{FILES}/{file}/confirm", {"kind": "reference", "time_zone": "Europe/Berlin"})

        assert (answer.status_code, answer.json()["kind"]) == (202, "reference")
        assert answer.json()["reference"]["rows"] == 60
        dataset = Dataset.objects.get()
        first = pq.read_table(home / dataset.path).slice(0, 1).to_pylist()[0]
        assert first["timestamp"].isoformat() == "2026-01-01T09:00:00+00:00"
        assert (first["id"], first["label"], first["income"], first["region"]) == ("A0000", "0", 900.5, "süd")
        assert [one["name"] for one in Version.objects.get().signature["features"]] == ["income", "region"]
        assert not list(home.glob("imports/*"))
        assert AuditEntry.objects.filter(action="reference.store").count() == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
    def test_predictions_with_labels_are_imported(self, encoding: str, api: Api, home: Path) -> None:
        file = upload(api, training(encoding=encoding))["id"]
        body = {"kind": "predictions", "columns": {"approved": "prediction", "region": "tag"}}

        answer = api.post(f"{FILES}/{file}/confirm", body)

        assert answer.status_code == 202, answer.json()
        services.resume_import(answer.json()["import"]["id"])
        answered = caller("ours").get(answer["Location"].removeprefix("/api/v1")).json()
        assert (answered["state"], answered["accepted"], answered["rejected"]) == ("done", 60, 0)
        exported = io.BytesIO(api.get("/models/flights/export?from=2026-01-01T00:00:00Z").getvalue())
        [row] = [row for row in pq.read_table(exported).to_pylist() if row["id"] == "A0001"]
        assert (row["income"], row["tags"], row["prediction"]) == (907.5, '{"region": "north"}', "0")
        assert [path.name for path in home.glob("imports/*")] == [f"{answered['id']}-rows"]  # to undo it by

    def test_points_for_thousands_are_no_decimals(self, api: Api, home: Path) -> None:
        values = ["1.234", "12.345,5", "999,25"] * 10
        file = upload(
            api, ("amount;label\n" + "\n".join(f"{v};{n % 2}" for n, v in enumerate(values))).encode()
        )

        api.post(f"{FILES}/{file['id']}/confirm", {"kind": "reference"})

        assert [row[0] for row in file["rows"][:3]] == ["1234", "12345.5", "999.25"]
        table = pq.read_table(home / Dataset.objects.get().path)
        assert table["amount"].to_pylist()[:3] == [1234.0, 12345.5, 999.25]

    def test_rows_that_cannot_be_kept_are_given_as_the_file_has_them(self, api: Api) -> None:
        content = training().replace(b"02.01.2026 10:01", b"02.31.2026 10:01")
        file = upload(api, content)["id"]
        body = {"kind": "predictions", "columns": {"approved": "prediction"}}

        job = api.post(f"{FILES}/{file}/confirm", body).json()["import"]["id"]
        services.resume_import(job)

        bad = api.get(f"/models/flights/imports/{job}/bad-rows").getvalue().decode()
        assert bad.count("\n") == 2
        assert bad.startswith(
            "import_row,import_line,import_column,import_code,import_reason,application_id,approved"
        )
        assert "'02.31.2026 10:01' is not a time" in bad

    def test_labels_are_imported_under_the_ids_that_were_logged(self, api: Api) -> None:
        file = upload(
            api, b"application_id;approved\n" + b"".join(b"A%04d;%d\n" % (n, n % 2) for n in range(30))
        )

        assert file["kind"] == "labels"
        answer = api.post(f"{FILES}/{file['id']}/confirm", {})

        services.resume_import(answer.json()["import"]["id"])
        assert Label.objects.filter(given_id="A0007", value="1").exists()

    def test_the_mapping_is_remembered_for_the_next_file(self, api: Api) -> None:
        body = {"kind": "predictions", "time_zone": "Europe/Berlin",
                "columns": {"approved": "prediction", "region": "ignored"}}  # fmt: skip
        api.post(f"{FILES}/{upload(api, training())['id']}/confirm", body)

        shown = upload(api, training(61))

        assert (shown["kind"], shown["time_zone"]) == ("predictions", "Europe/Berlin")
        assert roles(shown)["approved"] == "prediction"
        assert roles(shown)["region"] == "ignored"
        assert {column["why"] for column in shown["columns"]} == {"As chosen for the file before."}

    @pytest.mark.parametrize(
        ("body", "code", "sentence"),
        [
            ({"columns": {"incom": "feature"}}, "unknown_column", "has no column 'incom'; did you mean 'income'?"),
            ({"columns": {"income": "label"}}, "duplicate_role", "'approved', 'income' are all label; choose one"),
            ({"columns": {"income": "price"}}, "unknown_role", "'price' is no role of a column"),
            ({"kind": "predictions"}, "missing_role", "No column is the prediction"),
            ({"kind": "labels", "columns": {"application_id": "ignored"}}, "missing_role", "No column is the id"),
            ({"time_zone": "Berlin"}, "unknown_time_zone", "use a name such as Europe/Berlin"),
        ],
    )  # fmt: skip
    def test_a_mapping_that_does_not_fit_is_refused_and_the_file_still_waits(
        self, body: dict[str, Any], code: str, sentence: str, api: Api
    ) -> None:
        file = upload(api, training())["id"]

        answer = api.post(f"{FILES}/{file}/confirm", {"kind": "reference"} | body)

        assert sentence in assert_problem(answer, 422, code)["detail"]
        assert stored() == 0
        assert api.get(f"{FILES}/{file}").status_code == 200

    def test_a_file_is_confirmed_once(self, api: Api) -> None:
        file = upload(api, training())["id"]
        api.post(f"{FILES}/{file}/confirm", {"kind": "reference"})

        again = api.post(f"{FILES}/{file}/confirm", {"kind": "reference"})

        assert_problem(again, 404)
        assert Dataset.objects.count() == 1

    def test_what_a_file_brings_needs_its_scope(self, api: Api) -> None:
        logger = caller("ours", "log")
        file = upload(logger, training())["id"]

        assert_problem(logger.post(f"{FILES}/{file}/confirm", {"kind": "reference"}), 403)
        assert_problem(logger.post(f"{FILES}/{file}/confirm", {"kind": "labels"}), 403)
        assert stored() == 0

    def test_a_file_is_confirmed_after_a_confirmation_that_was_killed(self, api: Api, home: Path) -> None:
        file = upload(api, LOGGED)["id"]
        path = home / UploadedFile.objects.get().path
        killed = path.with_name(f".arriving-{path.name.lstrip('.')}-predictions")
        killed.write_bytes(b"half of it")

        assert api.post(f"{FILES}/{file}/confirm", {}).status_code == 202
        assert killed.read_bytes() == LOGGED


class TestWaiting:
    def test_a_token_that_may_log_alone_sees_what_it_sent(self, api: Api) -> None:
        logger = caller("ours", "log")
        of_others, own = upload(api, training())["id"], upload(logger, training())["id"]

        assert [one["id"] for one in logger.get(FILES).json()["items"]] == [own]
        assert [one["id"] for one in api.get(FILES).json()["items"]] == [own, of_others]
        assert logger.get(f"{FILES}/{own}").status_code == 200
        assert_problem(logger.get(f"{FILES}/{of_others}"), 404)
        assert_problem(logger.post(f"{FILES}/{of_others}/preview", {}), 404)
        assert_problem(logger.post(f"{FILES}/{of_others}/confirm", {}), 404)
        assert_problem(logger.send("DELETE", f"{FILES}/{of_others}"), 404)

    def test_one_that_is_confirmed_at_last_is_not_forgotten(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload(api, training())
        UploadedFile.objects.update(created_at="2026-01-01T00:00:00Z")
        path_of = staging.path_of

        def confirm_meanwhile(file: UploadedFile) -> Path:
            UploadedFile.objects.update(confirmed_at="2026-01-02T00:00:00Z")
            return path_of(file)

        monkeypatch.setattr(staging, "path_of", confirm_meanwhile)
        staging.remove_forgotten()

        assert path_of(UploadedFile.objects.get()).exists()

    def test_a_file_is_discarded_with_its_content(self, api: Api, home: Path) -> None:
        file = upload(api, training())["id"]

        assert api.send("DELETE", f"{FILES}/{file}").status_code == 204

        assert not list(home.glob("imports/*"))
        assert_problem(api.get(f"{FILES}/{file}"), 404)

    def test_one_that_nobody_confirms_is_forgotten_after_a_day(self, api: Api, home: Path) -> None:
        upload(api, training())
        assert services.remove_leftovers() == 0
        UploadedFile.objects.update(created_at="2026-01-01T00:00:00Z")

        services.remove_leftovers()

        assert not UploadedFile.objects.exists()
        assert not list(home.glob("imports/*"))

    def test_another_project_sees_nothing(self, api: Api, stranger: Api) -> None:
        file = upload(api, training())["id"]

        assert_problem(stranger.get(f"{FILES}/{file}"), 404)
        assert_problem(stranger.post(f"{FILES}/{file}/confirm", {"kind": "reference"}), 404)


class TestFilesThatNobodyLooksAt:
    """The endpoints of before find out what is certain, and refuse the rest."""

    REFERENCE = "/models/flights/reference"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_a_reference_with_semicolons_is_read(self, encoding: str, api: Api) -> None:
        content = ("x;region;label\n" + "\n".join(f"{n},5;n{n % 3};{n % 2}" for n in range(40))).encode(
            encoding
        )

        answer = api.send("PUT", self.REFERENCE, content, content_type=CSV)

        assert answer.json()["columns"] == ["x", "region", "label"]
        assert {one["name"]: one["type"] for one in Version.objects.get().signature["features"]} == {
            "x": "float", "region": "string",
        }  # fmt: skip

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_predictions_with_semicolons_are_imported(self, encoding: str, api: Api) -> None:
        lines = [f"2026-01-05T00:00:{n:02d}Z;1;{n},5" for n in range(40)]
        content = "\n".join(["timestamp;prediction;x", *lines]).encode(encoding)

        job = api.post("/models/flights/imports/predictions", content, content_type=CSV).json()["id"]
        services.resume_import(job)

        answered = api.get(f"/models/flights/imports/{job}").json()
        assert (answered["state"], answered["accepted"], answered["features"]) == ("done", 40, ["x"])

    @pytest.mark.parametrize(
        ("content", "code", "sentence"),
        [
            (training(), "doubtful_columns", "'application_id' is unique in every row, as an id is"),
            (b"a;b\n1,234;x\n2,345;y\n", "doubtful_format", "as thousands"),
        ],
    )
    def test_what_is_doubtful_is_refused_and_no_version_is_made(
        self, content: bytes, code: str, sentence: str, api: Api
    ) -> None:
        answer = api.send("PUT", self.REFERENCE, content, content_type=CSV)

        assert sentence in assert_problem(answer, 422, code)["detail"]
        assert stored() == 0

    def test_a_wrong_first_reference_is_replaced_by_the_next(self, api: Api) -> None:
        wrong = b"application,x,label\n" + b"".join(b"a,%d,%d\n" % (n, n % 2) for n in range(40))
        api.send("PUT", self.REFERENCE, wrong, content_type=CSV)

        answer = api.send("PUT", self.REFERENCE, b"x,label\n" + b"1.5,0\n2.5,1\n" * 20, content_type=CSV)

        assert answer.status_code == 202
        assert [one["name"] for one in Version.objects.get().signature["features"]] == ["x"]


class TestPositiveClass:
    LOANS = b"income,label,probability\n" + b"\n".join(
        b"%d,%s,0.%d" % (900 + n % 7, b"fraud" if n % 2 else b"legit", 9 if n % 2 else 1) for n in range(60)
    )

    def test_is_shown_as_the_rows_show_it_and_stored_as_it_is_confirmed(self, api: Api) -> None:
        shown = upload(api, self.LOANS)

        stored = api.post(f"{FILES}/{shown['id']}/confirm", {"positive_class": "legit"}).json()

        assert (shown["classes"], shown["positive_class"]) == (["fraud", "legit"], "fraud")
        assert stored["reference"]["positive_class"] == "legit"
        assert api.get("/models/flights").json()["positive_class"] == "legit"

    def test_comes_with_a_reference_and_is_changed_with_the_model(self, api: Api) -> None:
        made = api.send(
            "PUT", "/models/flights/reference?positive_class=legit", self.LOANS, content_type=CSV
        ).json()

        changed = api.send("PATCH", "/models/flights", {"positive_class": "fraud"})
        refused = api.send("PATCH", "/models/flights", {"positive_class": "theft"})

        assert made["positive_class"] == "legit"
        assert changed.json()["positive_class"] == "fraud"
        assert_problem(refused, 422)
        assert AuditEntry.objects.filter(action="version.update").count() == 1
