from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0048_thumbnail_share"),
    ]

    operations = [
        migrations.AddField(
            model_name="device",
            name="pinned_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="public half of the signing key that it trusts; empty for the first one",
                max_length=44,
            ),
        ),
    ]
