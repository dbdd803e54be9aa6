from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0003_fill_notes")]

    operations = [migrations.AddIndex("model", models.Index(fields=["note"], name="models_by_note"))]
