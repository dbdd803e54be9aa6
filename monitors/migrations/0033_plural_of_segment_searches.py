from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("monitors", "0032_rule_names")]

    operations = [
        migrations.AlterModelOptions(
            name="segmentsearch",
            options={"verbose_name_plural": "segment searches"},
        ),
    ]
