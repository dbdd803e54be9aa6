import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0012_event_halves"),
        ("monitors", "0007_gone_rows"),
    ]

    operations = [
        migrations.CreateModel(
            name="ChangePoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("role", models.CharField(max_length=10)),
                ("version", models.CharField(max_length=64)),
                ("span", models.CharField(max_length=4)),
                ("segment", models.CharField(blank=True, help_text="empty: all rows", max_length=200)),
                (
                    "detector",
                    models.CharField(
                        choices=[("adwin", "ADWIN"), ("page_hinkley", "Page-Hinkley")], max_length=12
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        choices=[
                            ("wrong_share", "share of wrong answers"),
                            ("mae", "mean absolute error"),
                            ("ndcg_loss", "loss of NDCG"),
                        ],
                        max_length=12,
                    ),
                ),
                ("at", models.DateTimeField(help_text="start of the first window after the change")),
                ("noticed_at", models.DateTimeField()),
                ("before", models.FloatField()),
                ("after", models.FloatField()),
                ("n_before", models.IntegerField(help_text="windows")),
                ("n_after", models.IntegerField(help_text="windows")),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["model", "at"], name="changes_of_a_model")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "span", "role", "version", "segment", "detector", "at"),
                        name="one_change_a_moment",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DetectorState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("role", models.CharField(max_length=10)),
                ("version", models.CharField(max_length=64)),
                ("span", models.CharField(max_length=4)),
                (
                    "detector",
                    models.CharField(
                        choices=[("adwin", "ADWIN"), ("page_hinkley", "Page-Hinkley")], max_length=12
                    ),
                ),
                ("until", models.DateTimeField()),
                ("payload", models.BinaryField()),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="inference.model",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "span", "role", "version", "detector", "until"),
                        name="one_state_a_moment",
                    )
                ],
            },
        ),
    ]
