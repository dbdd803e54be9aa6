"""The requests and signatures of AWS's own test suite for its Signature Version 4, those of a POST without a query."""

import pytest

from monitors.workflows.remote.orchestrators.aws_signature import AccessKey, authorization

KEY = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
HOST = {"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"}


@pytest.mark.parametrize(
    ("headers", "body", "signed", "signature"),
    [
        pytest.param(
            {}, b"", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            id="post-vanilla",
        ),
        pytest.param(
            {"My-Header1": "value1"}, b"", "host;my-header1;x-amz-date",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c", id="post-header-key-sort",
        ),
        pytest.param(
            {"My-Header1": "VALUE1"}, b"", "host;my-header1;x-amz-date",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d", id="post-header-value-case",
        ),
        pytest.param(
            {"Content-Type": "application/x-www-form-urlencoded"}, b"Param1=value1", "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a", id="post-x-www-form-urlencoded",
        ),
        pytest.param(
            {"Content-Type": "application/x-www-form-urlencoded; charset=utf8"}, b"Param1=value1",
            "content-type;host;x-amz-date", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
            id="post-x-www-form-urlencoded-parameters",
        ),
    ],
)  # fmt: skip
def test_signs_as_the_suite_does(headers: dict[str, str], body: bytes, signed: str, signature: str) -> None:
    found = authorization(HOST | headers, body, KEY, region="us-east-1", service="service")

    assert found == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )
