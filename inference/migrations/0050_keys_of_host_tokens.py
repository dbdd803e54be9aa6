from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0049_pinned_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="servinghost",
            name="token_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="public half of the signing key in its token; empty for one that was made before they were noted",
                max_length=44,
            ),
        ),
    ]
