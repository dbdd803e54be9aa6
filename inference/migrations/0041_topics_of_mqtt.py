from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0040_text_features"),
    ]

    operations = [
        migrations.AlterField(
            model_name="source",
            name="kind",
            field=models.CharField(
                choices=[
                    ("kafka", "Kafka"),
                    ("objects", "Objects"),
                    ("sql", "SQL"),
                    ("nats", "NATS JetStream"),
                    ("mqtt", "MQTT"),
                ],
                max_length=10,
            ),
        ),
    ]
