"""When members joined and were seen, which is unknown of those of before, and invitations."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

ROLES = [
    ("viewer", "Viewer: reads"),
    ("editor", "Editor: changes models, rules and channels"),
    ("admin", "Admin: also tokens, members and deployments"),
]


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_name_of_api_tokens")]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="joined_at",
            field=models.DateTimeField(null=True, help_text="empty for those of before it was kept"),
        ),
        migrations.AlterField(
            model_name="membership",
            name="joined_at",
            field=models.DateTimeField(
                null=True,
                db_default=django.db.models.functions.datetime.Now(),
                help_text="empty for those of before it was kept",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="last_seen_at",
            field=models.DateTimeField(null=True, blank=True, help_text="to within five minutes"),
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("email", models.EmailField(max_length=254)),
                ("role", models.CharField(max_length=10, choices=ROLES)),
                (
                    "generation",
                    models.PositiveIntegerField(
                        default=1, help_text="which of its links is valid: the newest"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("created_by", models.CharField(max_length=200)),
                ("expires_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True, blank=True)),
                ("mail_error", models.CharField(max_length=200, blank=True)),
                ("accepted_at", models.DateTimeField(null=True, blank=True)),
                ("withdrawn_at", models.DateTimeField(null=True, blank=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["project", "email"],
                        condition=models.Q(accepted_at=None, withdrawn_at=None),
                        name="one_open_invitation_an_address",
                    )
                ],
            },
        ),
    ]
