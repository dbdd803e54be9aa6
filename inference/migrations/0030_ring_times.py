import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0029_devices")]

    operations = [
        migrations.AddField(
            model_name="release",
            name="ring_began_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]
