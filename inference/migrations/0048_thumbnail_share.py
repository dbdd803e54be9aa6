from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0047_devices_that_ask"),
    ]

    operations = [
        migrations.AddField(
            model_name="model",
            name="thumbnail_share",
            field=models.FloatField(
                db_default=0.0,
                default=0.0,
                help_text="share of the rows that are images of which a thumbnail is kept with the row",
            ),
        ),
    ]
