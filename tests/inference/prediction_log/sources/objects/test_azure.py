"""What Azure lists is read, and what is no listing of Azure is said; tests/streams/test_azure.py asks a real server."""

import pytest

from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.store import ObjectInfo
from inference.prediction_log.sources.objects.azure import AzureContainer
from inference.prediction_log.sources.objects.settings import ObjectsSettings

BLOB = """<Blob><Name{encoded}>{name}</Name><Properties><Etag>0x8D4BCC2E4835CD0</Etag>
<Content-Length>12</Content-Length><Last-Modified>Mon, 05 Jan 2026 10:00:00 GMT</Last-Modified></Properties></Blob>"""


def page(*blobs: str, marker: str = "") -> bytes:
    return (
        f"\ufeff<?xml version='1.0'?><EnumerationResults><Blobs>{''.join(blobs)}</Blobs>"
        f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
    ).encode()


def listed(monkeypatch: pytest.MonkeyPatch, *pages: bytes) -> list[ObjectInfo]:
    answers = iter(pages)
    monkeypatch.setattr(AzureContainer, "get", lambda *_: (200, next(answers)))
    settings = ObjectsSettings(service="azure", bucket="b", endpoint="https://a.example.com")
    store = AzureContainer(settings, "")
    found = [one for some in store.pages() for one in some]
    store.close()
    return found


def test_a_listing_is_read_to_its_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    first = page(BLOB.format(name="a.csv", encoded=""), marker="2")
    second = page(BLOB.format(name="b%07.csv", encoded=' Encoded="true"'))

    found = listed(monkeypatch, first, second)

    assert [one.path for one in found] == ["a.csv", "b\x07.csv"]
    assert found[0] == ObjectInfo("a.csv", '"0x8D4BCC2E4835CD0"', 12, 1_767_607_200_000_000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no XML",
        b"<ListBucketResult/>",
        b"<!DOCTYPE x [<!ENTITY e 'x'>]><EnumerationResults/>",
        page("<Blob><Name>a</Name></Blob>"),
        page("<Blob><Name/><Properties/></Blob>"),
        page(BLOB.format(name="a", encoded="").replace("12", "many")),
        page(BLOB.format(name="a", encoded="").replace("Mon, 05 Jan 2026 10:00:00 GMT", "today")),
        b"\xff\xfe",
    ],
)
def test_what_is_no_listing_is_said(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with pytest.raises(ConnectorFailed, match=r"Azure storage account|document type"):
        listed(monkeypatch, body)
