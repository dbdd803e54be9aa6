from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0028_spans_that_fit")]

    operations = [
        migrations.AlterField(
            model_name="detectorstate",
            name="detector",
            field=models.CharField(
                choices=[
                    ("adwin", "ADWIN"),
                    ("page_hinkley", "Page-Hinkley"),
                    ("drift", "Drift"),
                    ("performance", "Performance"),
                ],
                max_length=12,
            ),
        ),
    ]
