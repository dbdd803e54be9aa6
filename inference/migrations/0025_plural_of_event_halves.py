from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inference", "0024_owner_and_tags_of_models")]

    operations = [
        migrations.AlterModelOptions(
            name="eventhalf",
            options={"verbose_name_plural": "event halves"},
        ),
    ]
