from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_seal_second_factors")]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="requests_per_second",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="rows_per_second",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
