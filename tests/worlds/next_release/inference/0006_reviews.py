from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inference", "0005_ratings")]

    operations = [migrations.RenameModel("Rating", "Review")]
