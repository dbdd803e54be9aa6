import django.db.models.deletion
from django.db import migrations, models

METHODS = [("psi", "The stability index alone"), ("combined", "Several statistics, calibrated together")]


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0005_estimates"),
    ]

    operations = [
        # Monitors that exist keep what their points were decided by; only new ones take the new method.
        migrations.AddField(
            model_name="monitor",
            name="method",
            field=models.CharField(
                choices=METHODS, default="psi", help_text="how drift is decided", max_length=10
            ),
        ),
        migrations.AlterField(
            model_name="monitor",
            name="method",
            field=models.CharField(
                choices=METHODS, default="combined", help_text="how drift is decided", max_length=10
            ),
        ),
        migrations.CreateModel(
            name="ReferenceDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                ("payload", models.BinaryField(help_text="encoded WindowSummary of the columns and labels")),
                (
                    "reference",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="days",
                        to="monitors.reference",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("reference", "day"), name="one_summary_a_reference_day")
                ],
            },
        ),
    ]
