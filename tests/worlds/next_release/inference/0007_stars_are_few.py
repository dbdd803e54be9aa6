from django.db import migrations, models

FEW = models.CheckConstraint(condition=models.Q(stars__lte=5), name="at_most_five_stars")


class Migration(migrations.Migration):
    dependencies = [("inference", "0006_reviews")]

    operations = [migrations.AddConstraint("review", FEW)]
