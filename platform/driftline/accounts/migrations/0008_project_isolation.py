from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_token_limits")]

    operations = [
        migrations.AddField(
            model_name="project",
            name="isolation",
            field=models.CharField(
                blank=True,
                choices=[
                    ("none", "None: its models run in the serving process"),
                    ("process", "Process: each version runs in a process of its own"),
                ],
                default="process",
                help_text="Where the models run. Empty: in the serving process for the first project, isolated for others.",
                max_length=10,
            ),
            preserve_default=False,
        ),
    ]
