"""Rules with a tree of conditions, a critical threshold and a policy for missing data; their states say why."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0043_acting"),
    ]

    operations = [
        migrations.AddField(
            model_name="rule",
            name="condition",
            field=models.JSONField(
                blank=True, help_text="a tree of comparisons; empty: the one here", null=True
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="critical_threshold",
            field=models.FloatField(
                blank=True, help_text="beyond which an incident is critical; empty: no value is", null=True
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="no_data",
            field=models.CharField(
                choices=[
                    ("keep", "Nothing: wait for the next one"),
                    ("alert", "That something is wrong"),
                    ("ok", "That all is well"),
                ],
                db_default="keep",
                default="keep",
                help_text="what a window says in which the metric has no value, or too few rows",
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="rulestate",
            name="error",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="why it could not be judged", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="rulestate",
            name="is_critical",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="whether it went beyond its critical threshold since it fires",
            ),
        ),
        migrations.AddField(
            model_name="rulestate",
            name="lacks_data",
            field=models.BooleanField(
                db_default=False, default=False, help_text="whether nothing is known of the newest window"
            ),
        ),
        migrations.AlterField(
            model_name="incidentevent",
            name="kind",
            field=models.CharField(
                help_text="opened, joined, worsened, still_firing, alert_resolved, resolved, causes; of people: acknowledged, assigned, commented, snoozed, snooze_ended, silenced, judged, rolled_back",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="transition",
            name="kind",
            field=models.CharField(
                choices=[
                    ("opened", "Opened"),
                    ("worsened", "Worsened"),
                    ("still_firing", "Still Firing"),
                    ("resolved", "Resolved"),
                ],
                max_length=12,
            ),
        ),
    ]
