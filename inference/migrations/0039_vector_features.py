from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0038_streams_of_nats"),
    ]

    operations = [
        migrations.CreateModel(
            name="VectorFeature",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("feature", models.CharField(max_length=100)),
                ("dimension", models.IntegerField()),
                (
                    "version",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=models.deletion.CASCADE,
                        related_name="+",
                        to="inference.version",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("version", "feature"), name="one_dimension_a_vector")
                ],
            },
        ),
    ]
