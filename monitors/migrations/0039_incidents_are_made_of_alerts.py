from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0038_an_alert_of_each_incident")]

    operations = [
        migrations.RemoveField(model_name="incident", name="opened_by"),
        migrations.RemoveField(model_name="incident", name="rule"),
        migrations.AlterField(
            model_name="incident",
            name="since",
            field=models.DateTimeField(help_text="event time: the earliest onset of its alerts"),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "firing")), fields=("rule",), name="one_firing_alert_a_rule"
            ),
        ),
    ]
