from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0050_keys_of_host_tokens"),
    ]

    operations = [
        migrations.AddField(
            model_name="sourceposition",
            name="read_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="the process that began to read on here: machine, number and start",
                max_length=100,
            ),
        ),
    ]
