from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0001_initial")]

    operations = [migrations.AddField("model", "note", models.CharField(max_length=100, db_default=""))]
