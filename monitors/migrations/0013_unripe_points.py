from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0012_expectations")]

    operations = [
        migrations.AddIndex(
            model_name="metricpoint",
            index=models.Index(
                condition=models.Q(("status", "unripe")), fields=["model", "metric"], name="unripe_points"
            ),
        ),
    ]
