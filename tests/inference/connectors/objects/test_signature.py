"""Requests are signed as the examples of AWS' documentation are."""

from datetime import UTC, datetime

import pytest

from inference.connectors.objects.signature import quote_path, quote_query, signed_headers

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
MOMENT = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt",
            {},
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "/",
            {"max-keys": "2", "prefix": "J"},
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "/",
            {"lifecycle": ""},
            {},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
    ],
)
def test_the_examples_of_the_documentation(
    path: str, query: dict[str, str], headers: dict[str, str], signature: str
) -> None:
    signed = signed_headers(
        host="examplebucket.s3.amazonaws.com",
        path=path,
        query=query,
        headers=headers,
        region="us-east-1",
        key_id=KEY_ID,
        secret=SECRET,
        now=MOMENT,
    )

    assert signed["authorization"].endswith(f"Signature={signature}")
    assert SECRET not in str(signed)
    assert "host" not in signed


def test_names_are_written_as_they_are_signed() -> None:
    assert quote_path("/bucket/a b/ü+~.csv") == "/bucket/a%20b/%C3%BC%2B~.csv"
    assert quote_query({"b": "x/y z", "a": ""}) == "a=&b=x%2Fy%20z"
