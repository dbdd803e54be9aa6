"""Months beside hours and days, and the outcomes of the windows that a longer one stands for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0009_variants")]

    operations = [
        migrations.AddField(
            model_name="summary",
            name="blocks",
            field=models.BinaryField(
                null=True,
                help_text="the outcomes of the hours or days that it stands for, which intervals are made from",
            ),
        ),
        migrations.AlterField(
            model_name="summary",
            name="gone",
            field=models.BinaryField(
                null=True,
                help_text="the part that rows in the log do not give any more, encoded alike; of a day or a month only "
                "while it stands for its hours or days",
            ),
        ),
        migrations.AlterField(
            model_name="summary",
            name="span",
            field=models.CharField(
                max_length=5, choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")]
            ),
        ),
    ]
