from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_turns_of_projects")]

    operations = [
        migrations.AlterModelOptions(
            name="apitoken",
            options={"verbose_name": "API token"},
        ),
    ]
