from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0004_models_by_note")]

    operations = [
        migrations.CreateModel(
            "Rating",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("model", models.ForeignKey("inference.Model", models.CASCADE)),
                ("stars", models.IntegerField()),
            ],
        )
    ]
