"""The fields of a bucket, which forms of sources and of the lake share."""

from django import forms


class StoreForm(forms.Form):
    """Where a bucket is, and by which key."""

    bucket = forms.CharField(
        max_length=63,
        required=False,
        help_text="Its name alone, such as predictions; empty for a folder.",
    )
    endpoint = forms.CharField(
        max_length=300,
        required=False,
        help_text="Such as https://minio.example.com; empty: that of AWS for the region. Addresses of your own "
        "networks, and http, have to be in DRIFTLINE_OUTBOUND_ALLOW.",
    )
    region = forms.CharField(max_length=40, initial="us-east-1")
    access_key_id = forms.CharField(
        max_length=128, required=False, label="Access key ID", help_text="Empty: the bucket is public."
    )
