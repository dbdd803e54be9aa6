"""The fields of a cluster of Kafka, which forms of sources and of the sink share."""

from django import forms

from inference.connectors.kafka.settings import Security

_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
PEM_AREA = forms.Textarea({"rows": 4, "spellcheck": "false", "class": "code"})


class KafkaClusterForm(forms.Form):
    """Where the brokers are, and how to sign in."""

    brokers = forms.CharField(
        max_length=4_000,
        help_text="host:port, several apart by spaces or commas, such as kafka.example.com:9093.",
    )
    security = forms.ChoiceField(
        choices=Security.choices,
        label="Protection",
        help_text="Without TLS only networks of DRIFTLINE_OUTBOUND_ALLOW are called.",
    )
    mechanism = forms.ChoiceField(choices=[(one, one) for one in _MECHANISMS], label="SASL mechanism")
    user = forms.CharField(max_length=255, required=False)
    ca_certificate = forms.CharField(
        required=False,
        widget=PEM_AREA,
        label="Certificate of the authority",
        help_text="PEM; empty: the system's.",
    )
    client_certificate = forms.CharField(
        required=False, widget=PEM_AREA, label="Client's certificate", help_text="PEM, for mutual TLS."
    )


def words_of(text: str) -> list[str]:
    """Return what stands apart by spaces or commas."""
    return text.replace(",", " ").split()
