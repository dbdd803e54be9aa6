"""A process that sends audit entries, and dies after a batch was received and before that is noted.

`python -m tests.driftline.operations.audit_export.dying_sender DATABASE RECEIVER BATCHES` is killed in its batch of
that number; with 0 it sends until somebody kills it.
"""

import os
import signal
import sys
import threading
from typing import Any

import django
from django.conf import settings


def main(database: str, receiver: str, batches: int) -> None:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    from driftline.base.accounts.models import AuditReceiver
    from driftline.operations.audit_export import sending
    from driftline.operations.audit_export.configured import configured_receivers

    sending.MAX_ENTRIES = 5
    speaker: Any = configured_receivers()[AuditReceiver(receiver)]
    send, sent = speaker.send, []

    def send_and_die(records: Any) -> None:
        send(records)
        sent.append(len(records))
        if len(sent) == batches:
            os.kill(os.getpid(), signal.SIGKILL)

    speaker.send = send_and_die
    lease = sending.claim_export(sending.exports_to_send().get(receiver=receiver).pk)
    assert lease
    sending.AuditSender(lease, speaker, threading.Event()).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
