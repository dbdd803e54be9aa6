"""Thumbnails of images: kept with their rows, shown beside them, and removed with them."""

from base64 import b64decode
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.db import connection

from driftline.base.accounts.models import AuditEntry, Membership, Project, Role, User
from driftline.base.clock import now
from driftline.base.periods import Period, to_us
from inference.image_names import image_parts
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.exports import Wanted, export_predictions
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.retention.expiry import delete_expired_day, find_expired
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.spool.record import LoggedBatch, encode_record
from inference.prediction_log.spool.segments import SpoolWriter
from inference.prediction_log.storage import partitions
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.plan.publishing import publish_model
from inference.registry.selectors import signature_of
from inference.registry.services import create_model, update_model
from inference.registry.versions import upload_version
from inference.serving.plan import PlanModel, load_plan
from inference.serving.versions.versions import LoadedVersion
from monitors.definitions.choosing import ReferenceChoice, choose_reference
from monitors.metrics.rows.changed_examples import changed_examples
from monitors.reports.derivation.predictions import derive_prediction
from tests.driftline.api.conftest import Api, caller
from tests.inference.onnx_models import embedding_model, store
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.markup import markup
from tests.pages_client import PagesClient
from tests.worlds.approvals import DAY, work

pytestmark = pytest.mark.slow

NEXT_DAY = DAY + timedelta(days=1)
ROWS = 30
METADATA = b'{"outputs": {"prediction": "sum", "embedding": "embedding"}, "image": {"layout": "NCHW"}}'


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))


@pytest.fixture
def version(project: Project, home: Path) -> Version:
    model = create_model(
        project=project, name="images", task="regression", actor="test", objectives={"label_lag_hours": 0},
        thumbnail_share=1.0,
    )  # fmt: skip
    version, _ = upload_version(
        model=model, stream=BytesIO(embedding_model()), metadata=METADATA, lineage=Lineage(), actor="test"
    )
    return version


@pytest.fixture
def api(project: Project) -> Api:
    return caller("bank")


@pytest.fixture
def owner(project: Project) -> User:
    owner = User.objects.create_user("owner@bank.example")
    Membership.objects.create(project=project, user=owner, role=Role.ADMIN)
    return owner


def serve(
    version: Version,
    home: Path,
    start: datetime = DAY,
    *,
    share: float = 1.0,
    dark: bool = False,
    late: dict[str, str] | None = None,
) -> list[bytes]:
    """Answer images and log them as serving does, every third one of ada; returns their thumbnails.

    The model's privacy changes to `late` once they are drawn, and before they are drained.
    """
    stored = store(home, embedding_model(), signature_of(version), id=version.pk, version=version.version)
    loaded = LoadedVersion(home, PlanModel(version.model_id, 1, "images", 1, "1", [], [stored]), stored)
    loaded.thumbnail_share = share
    shape = (ROWS, 3, 4, 4)
    pixels = np.random.default_rng(int(start.timestamp())).random(shape).astype(np.float32)
    images = {"X": pixels * 0.1 if dark else pixels}
    outcome = loaded.run(images)
    ids = [f"{start:%m%d%H}-{place}" for place in range(ROWS)]
    drawn = loaded.thumbnails(images, ids)
    if late is not None:
        update_model(model=version.model, actor="test", privacy=late)
    logged = LoggedBatch(
        model_id=version.model_id, version_id=version.pk, role="champion", generation=1, ids=ids, client_ids=None,
        keyed=False, event_time_us=[to_us(start) + 60_000_000 * place for place in range(ROWS)],
        received_us=to_us(start), latency_us=[900] * ROWS, features=loaded.features(images, outcome.outputs),
        prediction=outcome.prediction, probabilities=None,
        subjects=["ada" if place % 3 == 0 else None for place in range(ROWS)], tags=None, thumbnails=drawn,
    )  # fmt: skip
    SpoolWriter(home, f"serving-{start:%m%d%H}").append([encode_record(logged)], sync=False)
    drain_once(home)
    return [one for one in drawn or [] if one is not None]


def kept(model: Model) -> list[bytes]:
    """The thumbnails that the log holds of a day, whatever may be seen, by the time of their rows."""
    payloads = PredictionChunk.objects.filter(model=model, day=DAY.date()).values_list("payload", flat=True)
    rows = [row for payload in payloads for row in read_rows(payload, ("time", THUMBNAIL)).to_pylist()]
    return [row[THUMBNAIL] for row in sorted(rows, key=lambda row: row["time"]) if row.get(THUMBNAIL)]


class TestKept:
    def test_with_their_rows_and_read_only_where_they_are_wanted(self, version: Version, home: Path) -> None:
        drawn = serve(version, home)

        assert len(drawn) == ROWS
        assert kept(version.model) == drawn
        frame = frame_of(model=version.model, start=DAY, end=NEXT_DAY)
        assert set(frame.features) >= {"X.brightness", "X.sharpness"}
        assert THUMBNAIL not in frame.features

    def test_when_chunks_are_packed_with_others_that_have_none(self, version: Version, home: Path) -> None:
        drawn = serve(version, home)
        serve(version, home, DAY + timedelta(hours=12), share=0.0)

        grow_old()
        pack_all()

        assert kept(version.model) == drawn
        assert len(frame_of(model=version.model, start=DAY, end=NEXT_DAY)) == 2 * ROWS

    def test_in_the_bytes_that_the_log_is_said_to_have(self, version: Version, home: Path) -> None:
        drawn = serve(version, home)

        [chunk] = PredictionChunk.objects.all()
        assert len(chunk.payload) > sum(map(len, drawn)) / 2

    def test_where_the_image_itself_is_not_so_that_its_answer_is_not_derived_again(
        self, version: Version, home: Path
    ) -> None:
        serve(version, home)

        [derived] = derive_prediction(version.model, f"{DAY:%m%d%H}-0")

        assert derived.why == "its input has no columns, as an image has none, so the log does not hold it."

    def test_in_no_export(self, version: Version, home: Path) -> None:
        serve(version, home)
        sink = BytesIO()

        export_predictions(wanted=Wanted(version.model, DAY, NEXT_DAY), sink=sink, actor="test")

        table = pq.read_table(BytesIO(sink.getvalue()))
        assert table.num_rows == ROWS
        assert not [name for name in table.column_names if "thumbnail" in name]


class TestPrivacy:
    @pytest.mark.parametrize("feature", ["X", "X.sharpness"])
    def test_of_summaries_alone_removes_them_from_rows_that_were_stored_before(
        self, version: Version, home: Path, feature: str
    ) -> None:
        serve(version, home)
        work(version.model)

        update_model(model=version.model, actor="test", privacy={feature: "summary"})
        work(version.model)

        assert kept(version.model) == []
        [payload] = PredictionChunk.objects.values_list("payload", flat=True)
        assert b"\x89PNG" not in bytes(payload)
        frame = frame_of(model=version.model, start=DAY, end=NEXT_DAY)
        assert {name for name in frame.dropped if name.startswith(feature)} == {
            name for name in image_parts("X") if name.startswith(feature)
        }

    @pytest.mark.parametrize("policy", ["drop", "hash", "summary"])
    def test_that_changes_before_the_drain_stores_none_that_were_spooled(
        self, version: Version, home: Path, policy: str
    ) -> None:
        drawn = serve(version, home, late={"X": policy})

        assert len(drawn) == ROWS
        assert kept(version.model) == []

    @pytest.mark.parametrize("policy", ["drop", "hash"])
    def test_of_an_image_counts_for_its_numbers(self, version: Version, home: Path, policy: str) -> None:
        serve(version, home, late={"X": policy})

        frame = frame_of(model=version.model, start=DAY, end=NEXT_DAY)
        assert not frame.features.keys() & set(image_parts("X"))
        assert "embedding.norm" in frame.features

    @pytest.mark.parametrize("feature", ["X", "X.contrast"])
    def test_that_changes_later_shows_none_that_are_stored(
        self, version: Version, home: Path, api: Api, owner: User, feature: str
    ) -> None:
        serve(version, home)
        update_model(model=version.model, actor="test", privacy={feature: "drop"})
        client = PagesClient()
        client.force_login(owner)

        assert api.get("/models/images/predictions/010500-3").json()["thumbnail"] is None
        assert "data:image" not in markup(client.get("/models/images/predictions/010500-3"))

    def test_of_the_image_is_on_the_page_of_settings_before_any_row_is_logged(
        self, version: Version, owner: User
    ) -> None:
        client = PagesClient()
        client.force_login(owner)
        fields = {
            "rows_kept": "all",
            "task": "regression",
            "schema_policy": "lenient",
            "thumbnail_share": "1",
        }

        page = markup(client.get("/models/images/settings"))
        client.post("/models/images/settings", fields | {"feature_0": "drop", "sure": "on"})

        version.model.refresh_from_db()
        assert '<label for="id_feature_0">X</label>' in page
        assert version.model.privacy == {"X": "drop"}


class TestErased:
    def test_with_the_person_whose_rows_they_are(self, version: Version, home: Path, api: Api) -> None:
        drawn = serve(version, home)
        work(version.model)

        receipt = api.send("DELETE", f"/subjects/{quote('ada')}").json()
        for _ in range(10):
            services.resume_erasure(receipt["id"])
        done = api.get(f"/erasures/{receipt['id']}").json()

        assert done["state"] == "done"
        assert kept(version.model) == [one for place, one in enumerate(drawn) if place % 3]
        for payload in PredictionChunk.objects.values_list("payload", flat=True):
            held = read_rows(payload).column(THUMBNAIL).to_pylist()
            assert not set(held) & {one for place, one in enumerate(drawn) if place % 3 == 0}

    def test_with_their_day_when_it_expires(self, version: Version, home: Path) -> None:
        serve(version, home)
        serve(version, home, DAY + timedelta(days=9))
        update_model(model=version.model, actor="test", retention_days=2)
        grow_old()
        pack_all()
        connection.check_constraints()  # a partition is not dropped while a check of it is due

        for expired in find_expired(now(), without=partitions.WEEKS.starts()):
            delete_expired_day(expired)

        assert kept(version.model) == []
        assert [chunk.day for chunk in PredictionChunk.objects.all()] == [(DAY + timedelta(days=9)).date()]


class TestShown:
    def test_on_the_api_and_the_page_of_their_prediction(
        self, version: Version, home: Path, api: Api, owner: User
    ) -> None:
        drawn = serve(version, home)
        client = PagesClient()
        client.force_login(owner)

        shown = api.get("/models/images/predictions/010500-3").json()
        page = client.get("/models/images/predictions/010500-3")

        assert b64decode(shown["thumbnail"]) == drawn[3]
        assert f'src="data:image/png;base64,{shown["thumbnail"]}"' in markup(page)
        assert 'alt="Thumbnail of the image of prediction 010500-3"' in markup(page)
        assert "data:" in page["Content-Security-Policy"].partition("img-src")[2].partition(";")[0]

    def test_on_no_page_of_a_prediction_without_one(self, version: Version, home: Path, owner: User) -> None:
        serve(version, home, share=0.0)
        client = PagesClient()
        client.force_login(owner)

        assert "data:image" not in markup(client.get("/models/images/predictions/010500-3"))

    def test_beside_predictions_unlike_the_reference(self, version: Version, home: Path) -> None:
        for back in range(14, 0, -1):
            serve(version, home, DAY - timedelta(days=back))
        drawn = serve(version, home, dark=True)
        work(version.model)
        choice = ReferenceChoice("period", start=DAY - timedelta(days=14), end=DAY)
        choose_reference(model=version.model, version=version, choice=choice, actor="test")

        found = changed_examples(model=version.model, feature="embedding", window=Period(DAY, NEXT_DAY))

        assert found.note == ""
        assert {b64decode(one.thumbnail or "") for one in found.items} <= set(drawn)
        assert all(row.thumbnail for one in found.items for row in one.nearest)
        update_model(model=version.model, actor="test", privacy={"X.sharpness": "drop"})
        hidden = changed_examples(model=version.model, feature="embedding", window=Period(DAY, NEXT_DAY))
        assert [one.prediction_id for one in hidden.items] == [one.prediction_id for one in found.items]
        assert not any(row.thumbnail for one in hidden.items for row in (one, *one.nearest))


class TestSetting:
    def test_is_on_the_page_of_settings_which_keeps_none_where_it_is_empty(
        self, version: Version, owner: User
    ) -> None:
        client = PagesClient()
        client.force_login(owner)
        fields = {"rows_kept": "all", "task": "regression", "schema_policy": "lenient"}

        page = markup(client.get("/models/images/settings"))
        for share in ("0.5", ""):
            answer = client.post("/models/images/settings", fields | {"thumbnail_share": share})
            assert answer.status_code == 302
            version.model.refresh_from_db()
            assert version.model.thumbnail_share == float(share or 0)

        assert "Keep a thumbnail of images (share)" in page
        assert client.post("/models/images/settings", fields | {"thumbnail_share": "2"}).status_code == 422

    def test_is_audited_and_reaches_the_serving_processes(
        self, version: Version, api: Api, home: Path
    ) -> None:
        changed = api.send("PATCH", "/models/images", {"thumbnail_share": 0.1})

        assert changed.status_code == 200
        assert changed.json()["thumbnail_share"] == 0.1
        publish_model(version.model_id)
        assert load_plan(home / "plan.json").models[0].thumbnail_share == 0.1
        noted = AuditEntry.objects.filter(action="model.update").latest("pk")
        assert (noted.before, noted.after) == ({"thumbnail_share": 1.0}, {"thumbnail_share": 0.1})

    @pytest.mark.parametrize("share", [-0.1, 1.1, "many", None])
    def test_is_a_share(self, version: Version, api: Api, share: object) -> None:
        answer = api.send("PATCH", "/models/images", {"thumbnail_share": share})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/thumbnail_share"
