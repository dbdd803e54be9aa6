"""Any program that takes a signed POST, as the Standard Webhooks specification describes it.

It gets the order as the body. `webhook-id` is the idempotency key: a receiver starts one training for it, however
often it comes.
"""

import base64
from datetime import UTC

import orjson
from standardwebhooks import Webhook

from driftline.base.clock import now
from driftline.base.outbound.json_calls import send
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.remote.orchestrators.base import Orchestrator, Order, Pipeline

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


class SignedHttp(Orchestrator):
    title = "HTTP, signed"
    url = "the address that takes the order, such as https://train.example.com/driftline"
    secret = "what the receiver checks the signature with: whsec_ and 24 to 64 bytes in base64"
    tested_with = "the receiver of the guide"

    def fault_in_secret(self, secret: str) -> str:
        try:
            size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
        except ValueError:
            size = 0
        if secret.startswith(PREFIX) and size in SECRET_BYTES:
            return ""
        return "The secret is no key of Standard Webhooks; use whsec_ and 24 to 64 random bytes in base64."

    def start(self, pipeline: Pipeline, key: str, order: Order) -> str:
        if not pipeline.secret:
            raise RequestFailed("The pipeline has no secret to sign the order with; set one in the workflow.")
        body, at = orjson.dumps(order), now().astimezone(UTC)
        headers = {
            "webhook-id": key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(pipeline.secret).sign(key, at, body.decode()),
        }
        send("POST", pipeline.url, body=body, headers=headers)
        return key
