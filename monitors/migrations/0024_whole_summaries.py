from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("monitors", "0023_attempts_of_long_work")]

    operations = [migrations.RemoveField(model_name="summary", name="gone")]
