"""The form of each kind of source: where it reads, with help."""

from collections.abc import Mapping
from typing import Any

from django import forms

from inference.connectors.kafka.form import PEM_AREA, KafkaClusterForm, words_of
from inference.connectors.objects.form import StoreForm
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.pages.source_forms import SourceForm
from inference.prediction_log.sources.reading.adapters import mapping_of, settings_of
from inference.prediction_log.sources.sql.settings import SqlSettings


class KafkaSourceForm(KafkaClusterForm, SourceForm):
    kind = "kafka"
    secret_after = "user"
    where_to_read = (
        "brokers",
        "topics",
        "start",
        "group",
        "security",
        "mechanism",
        "user",
        "ca_certificate",
        "client_certificate",
        "registry_url",
        "registry_user",
    )

    topics = forms.CharField(max_length=4_000, help_text="Several apart by spaces or commas.")
    start = forms.ChoiceField(
        choices=[("earliest", "With the earliest message"), ("latest", "With those that come from now on")],
        label="Begin",
        help_text="Where a partition is begun that was never read.",
    )
    group = forms.CharField(
        max_length=200, required=False, label="Consumer group", help_text="Empty: one of its own."
    )
    registry_url = forms.CharField(
        max_length=300,
        required=False,
        label="Schema registry",
        help_text="For messages of Avro or Protobuf, such as https://registry.example.com; empty: messages are JSON.",
    )
    registry_user = forms.CharField(
        max_length=255,
        required=False,
        label="User of the registry",
        help_text="Empty: the secret below, if there is one, is a token.",
    )
    registry_secret = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "autocomplete": "off", "class": "code"}),
        label="Password or token of the registry",
        help_text="Kept encrypted and not shown again. Empty: what is stored stays.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["secret"].label = "Password, or private key of the client's certificate"

    def read_settings(self) -> KafkaSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        values = {name: self.cleaned_data[name] for name in self.where_to_read}
        lists = {name: words_of(values[name]) for name in ("brokers", "topics")}
        return KafkaSettings.model_validate(values | lists)


class ObjectsSourceForm(StoreForm, SourceForm):
    kind = "objects"
    secret_after = "access_key_id"
    where_to_read = (
        "service",
        "bucket",
        "endpoint",
        "region",
        "access_key_id",
        "folder",
        "prefix",
        "glob",
        "format",
        "delimiter",
        "interval_seconds",
        "reread_changed",
    )

    service = forms.ChoiceField(
        choices=[
            ("s3", "S3, or what speaks its protocol"),
            ("azure", "Azure Blob Storage"),
            ("gcs", "Google Cloud Storage"),
        ],
        help_text="With Azure, the bucket is the name of a container, the endpoint is the address of the storage "
        "account, the access key ID its name, and the secret one of its keys. With Google, the secret is the JSON key "
        "of a service account, or empty where the bucket is public; there is no access key ID.",
    )
    folder = forms.CharField(
        max_length=500,
        required=False,
        help_text="Instead of a bucket: a path of this server, below one of DRIFTLINE_SOURCE_FOLDERS.",
    )
    prefix = forms.CharField(  # type: ignore[assignment]  # a form takes its fields out of its class
        max_length=500,
        required=False,
        help_text="With which the names of the objects begin, such as scores/2026/.",
    )
    glob = forms.CharField(
        max_length=500,
        initial="*",
        label="Pattern",
        help_text="Of the whole name, such as *.parquet; * is any text, slashes too, and ? one character.",
    )
    format = forms.ChoiceField(
        choices=[
            ("auto", "By the ending of each name"),
            ("parquet", "Parquet"),
            ("csv", "CSV with a header"),
            ("ndjson", "NDJSON: a JSON object a line"),
        ],
        label="Files",
        help_text="By the ending: .parquet, .csv, .ndjson and .jsonl, the last three also with .gz.",
    )
    delimiter = forms.ChoiceField(
        choices=[(",", "Comma"), (";", "Semicolon"), ("\t", "Tab"), ("|", "Vertical bar")],
        label="Cells of CSV are apart by",
    )
    interval_seconds = forms.IntegerField(
        min_value=5,
        max_value=86_400,
        initial=60,
        label="Seconds between two passes",
        help_text="Each pass lists all objects with the prefix, and reads the new ones in the order of their names.",
    )
    reread_changed = forms.BooleanField(
        required=False,
        label="Read objects again that were replaced",
        help_text="Otherwise a notice says so. Rows that are in the log count as duplicates, and changed ones become "
        "dead letters.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["secret"].label = "Secret access key"
        help_of_id = "A column, or dotted; $position is the object's name and row, $time its last change."
        self.fields["id"].help_text = help_of_id
        self.fields["envelope"].label = "What a row holds"

    def read_settings(self) -> ObjectsSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        return ObjectsSettings.model_validate({name: self.cleaned_data[name] for name in self.where_to_read})


class SqlSourceForm(SourceForm):
    kind = "sql"
    secret_after = "user"
    where_to_read = (
        "engine",
        "host",
        "port",
        "database",
        "user",
        "tls",
        "ca_certificate",
        "schema_name",
        "table",
        "columns",
        "watermark",
        "keys",
        "lag_seconds",
        "interval_seconds",
        "max_gib_billed",
        "warehouse",
        "role",
    )

    engine = forms.ChoiceField(
        choices=[
            ("postgresql", "PostgreSQL"),
            ("mysql", "MariaDB or MySQL"),
            ("bigquery", "Google BigQuery"),
            ("snowflake", "Snowflake"),
        ],
        help_text="With BigQuery, the host is bigquery.googleapis.com, the database a project, the schema a dataset, "
        "the user the e-mail address of a service account, and the password its JSON key. With Snowflake, "
        "the host is that of the account, such as acme-main.snowflakecomputing.com, and the password a private key of "
        "the user: PEM, RSA, not encrypted.",
    )
    host = forms.CharField(
        max_length=253,
        help_text="Addresses of your own networks have to be in DRIFTLINE_OUTBOUND_ALLOW.",
    )
    port = forms.IntegerField(
        min_value=0, max_value=65_535, initial=0, help_text="0: that of the engine, 5432, 3306 or 443."
    )
    database = forms.CharField(max_length=255)
    user = forms.CharField(max_length=255, help_text="One that may only read this table.")
    tls = forms.ChoiceField(
        choices=[("verify", "TLS, with the certificate checked"), ("none", "None")],
        label="Protection",
        help_text="Without TLS only networks of DRIFTLINE_OUTBOUND_ALLOW are called.",
    )
    ca_certificate = forms.CharField(
        required=False,
        widget=PEM_AREA,
        label="Certificate of the authority",
        help_text="PEM; empty: the system's.",
    )
    schema_name = forms.CharField(
        max_length=255, required=False, label="Schema", help_text="Empty: that of the user."
    )
    table = forms.CharField(max_length=255, label="Table or view")
    columns = forms.CharField(
        max_length=100_000,
        required=False,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "class": "code"}),
        help_text="Apart by commas or lines; empty: all.",
    )
    watermark = forms.CharField(
        max_length=255, help_text="A column that grows, such as updated_at, and has an index."
    )
    keys = forms.CharField(
        max_length=700,
        label="Key columns",
        help_text="Apart by commas; they tell rows of one watermark apart, and are together unique.",
    )
    lag_seconds = forms.IntegerField(
        min_value=0,
        max_value=86_400,
        initial=60,
        label="Seconds of lag",
        help_text="Only older rows are read, so that transactions that end late are seen. 0 where the watermark "
        "is no time.",
    )
    interval_seconds = forms.IntegerField(
        min_value=1,
        max_value=86_400,
        initial=10,
        label="Seconds between two looks for new rows",
        help_text="With BigQuery and Snowflake 60 or more, as each look is billed.",
    )
    max_gib_billed = forms.IntegerField(
        min_value=1,
        max_value=100_000,
        initial=10,
        label="GiB billed at most",
        help_text="With BigQuery alone: a statement that would be billed for more is refused.",
    )
    warehouse = forms.CharField(
        max_length=255, required=False, help_text="With Snowflake alone, which needs one to run statements."
    )
    role = forms.CharField(
        max_length=255, required=False, help_text="With Snowflake alone; empty: the default role of the user."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["secret"].label = "Password"
        help_of_id = "A column; empty: id, or the key columns. $position is the table and a count, $time the watermark."
        self.fields["id"].help_text = help_of_id

    def read_settings(self) -> SqlSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        values = {name: self.cleaned_data[name] for name in self.where_to_read}
        lists = {name: _names(values[name]) for name in ("columns", "keys")}
        return SqlSettings.model_validate(values | lists)


class MessageServerForm(SourceForm):
    """What the forms of kinds with one server share."""

    secret_after = "user"

    tls = forms.ChoiceField(
        choices=[("verify", "TLS, with the certificate checked"), ("none", "None")],
        label="Protection",
        help_text="Without TLS only networks of DRIFTLINE_OUTBOUND_ALLOW are called.",
    )
    user = forms.CharField(max_length=255, required=False)
    ca_certificate = forms.CharField(
        required=False,
        widget=PEM_AREA,
        label="Certificate of the authority",
        help_text="PEM; empty: the system's.",
    )


class NatsSourceForm(MessageServerForm):
    kind = "nats"
    where_to_read = ("server", "stream", "subject", "start", "tls", "user", "ca_certificate")

    server = forms.CharField(max_length=260, help_text="host:port, such as nats.example.com:4222.")
    stream = forms.CharField(max_length=200, help_text="Of JetStream.")
    subject = forms.CharField(
        max_length=200, required=False, help_text="Such as scores.*; empty: all messages of the stream."
    )
    start = forms.ChoiceField(
        choices=[("earliest", "With the earliest message"), ("latest", "With those that come from now on")],
        label="Begin",
        help_text="Where a stream is begun that was never read.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].help_text = "Empty: the secret, if any, is a token."
        self.fields["secret"].label = "Password or token"

    def read_settings(self) -> NatsSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        return NatsSettings.model_validate({name: self.cleaned_data[name] for name in self.where_to_read})


class MqttSourceForm(MessageServerForm):
    kind = "mqtt"
    where_to_read = ("server", "topics", "tls", "user", "ca_certificate")

    server = forms.CharField(max_length=260, help_text="host:port, such as mqtt.example.com:8883.")
    topics = forms.CharField(
        max_length=4_000,
        help_text="Several apart by spaces or commas; + stands for one level, # for all that follow.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["secret"].label = "Password"
        help_of_id = (
            "Dotted, such as data.id. Of messages without an id, two that are equal count as one row."
        )
        self.fields["id"].help_text = help_of_id

    def read_settings(self) -> MqttSettings:
        """Return where to read; raises ValueError with what pydantic says."""
        values = {name: self.cleaned_data[name] for name in self.where_to_read}
        return MqttSettings.model_validate(values | {"topics": words_of(values["topics"])})


_FORMS = (KafkaSourceForm, NatsSourceForm, MqttSourceForm, ObjectsSourceForm, SqlSourceForm)
KIND_FORMS: Mapping[str, type[SourceForm]] = {form.kind: form for form in _FORMS}

KIND_TEXTS = {
    "kafka": (
        "Topics of Kafka",
        "Messages as they come, shared by as many consumers as there are partitions.",
    ),
    "nats": (
        "A stream of NATS JetStream",
        "Messages of a stream, or of a subject of it, in the order of their sequences.",
    ),
    "mqtt": (
        "Topics of MQTT",
        "Messages of devices and gateways, which the broker keeps for Driftline until they are stored.",
    ),
    "objects": (
        "Files in a bucket or a folder",
        "Parquet, CSV or NDJSON in S3 or what speaks its protocol, Azure or Google; each object is read once.",
    ),
    "sql": (
        "Rows of a table or view",
        "PostgreSQL, MariaDB, MySQL, BigQuery or Snowflake, followed by a column that grows, such as the time of the "
        "last change.",
    ),
}
"""How each kind is offered: a title, and what it reads."""


def form_of(source: Source, data: Any) -> SourceForm:
    """Return the form that changes a source; its kind, its model and what it holds stay."""
    form = KIND_FORMS[source.kind](source.project, data, initial=_initial(source))
    del form.fields["model"], form.fields["what"]
    for field, secret in (("secret", source.secret), ("registry_secret", source.registry_secret)):
        if secret and field in form.fields:
            form.fields[field].widget.attrs["placeholder"] = "••••••••"
    return form


def _initial(source: Source) -> dict[str, Any]:
    mapping, settings = mapping_of(source), settings_of(source)
    values = mapping.model_dump(exclude={"tags", "feature_paths"}) | settings.model_dump()
    if isinstance(settings, KafkaSettings):
        values |= {"brokers": ", ".join(settings.brokers), "topics": ", ".join(settings.topics)}
    if isinstance(settings, MqttSettings):
        values |= {"topics": ", ".join(settings.topics)}
    if isinstance(settings, SqlSettings):
        values |= {"columns": "\n".join(settings.columns), "keys": ", ".join(settings.keys)}
    tags = "\n".join(f"{name} {path}" for name, path in mapping.tags.items())
    return values | {"name": source.name, "tags": tags}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]
