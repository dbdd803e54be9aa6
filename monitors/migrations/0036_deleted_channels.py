"""Deleted channels keep their deliveries, and a rotated secret leaves the one before valid for a while."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_name_of_api_tokens"),
        ("monitors", "0035_silences_ended_early"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="channel",
            name="channel_name_once_a_project",
        ),
        migrations.AddField(
            model_name="channel",
            name="deleted_at",
            field=models.DateTimeField(blank=True, help_text="since when it is not listed", null=True),
        ),
        migrations.AddField(
            model_name="channel",
            name="previous_secret",
            field=models.BinaryField(blank=True, default=b"", help_text="the secret before, encrypted"),
        ),
        migrations.AddField(
            model_name="channel",
            name="previous_secret_until",
            field=models.DateTimeField(
                blank=True, help_text="until when messages are signed with the secret before too", null=True
            ),
        ),
        migrations.AddConstraint(
            model_name="channel",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)),
                fields=("project", "name"),
                name="channel_name_once_a_project",
            ),
        ),
    ]
