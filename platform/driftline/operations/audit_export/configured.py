"""Where audit entries are sent: the receivers that the settings name."""

from django.conf import settings

from driftline.base.accounts.models import AuditReceiver
from driftline.operations.audit_export.receivers import SendsRecords, TlsFiles
from driftline.operations.audit_export.syslog import SyslogReceiver


def configured_receivers() -> dict[AuditReceiver, SendsRecords]:
    """Return what speaks to each receiver that the settings name."""
    from driftline.operations.audit_export.otlp import OtlpReceiver  # loads Protocol Buffers

    authorities, certificate = settings.AUDIT_EXPORT_CA, settings.AUDIT_EXPORT_CERTIFICATE
    files = TlsFiles(*(str(one) if one else None for one in (authorities, certificate)))
    receivers: dict[AuditReceiver, SendsRecords] = {}
    if settings.AUDIT_SYSLOG:
        receivers[AuditReceiver.SYSLOG] = SyslogReceiver(settings.AUDIT_SYSLOG, files)
    if settings.AUDIT_OTLP:
        receivers[AuditReceiver.OTLP] = OtlpReceiver(
            settings.AUDIT_OTLP, files, headers_file=settings.AUDIT_OTLP_HEADERS_FILE
        )
    return receivers
