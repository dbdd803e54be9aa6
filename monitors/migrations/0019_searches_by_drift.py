from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0018_declared_segments")]

    operations = [
        migrations.AlterField(
            model_name="segmentsearch",
            name="loss",
            field=models.CharField(
                blank=True,
                choices=[
                    ("log_loss", "Log loss"),
                    ("wrong_share", "Share of wrong answers"),
                    ("brier", "Brier score"),
                    ("mae", "Mean absolute error"),
                    ("mse", "Mean squared error"),
                ],
                help_text="what rows lose; empty: by drift",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="segmentsearch",
            name="findings",
            field=models.JSONField(
                blank=True, help_text="see Findings and Growth in monitors/metrics", null=True
            ),
        ),
    ]
