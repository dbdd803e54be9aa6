"""Says when joint draws were made, so that those of references that changed since can expire."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0029_evidence")]

    operations = [
        migrations.AddField(
            model_name="jointnulldraws",
            name="made_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]
