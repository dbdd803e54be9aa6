from django.db import migrations, models


def keep_spans(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Rules and hourly monitors judge what they judged: somebody asked for that."""
    apps.get_model("monitors", "Rule").objects.update(judged_span=models.F("span"))
    apps.get_model("monitors", "Monitor").objects.filter(span="hour").update(is_span_chosen=True)


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0027_channel_kinds"),
    ]

    operations = [
        migrations.AddField(
            model_name="monitor",
            name="is_span_chosen",
            field=models.BooleanField(default=False, help_text="by a person; else it follows the traffic"),
        ),
        migrations.AddField(
            model_name="monitor",
            name="rule_spans",
            field=models.JSONField(blank=True, default=list, help_text="what rules judge by beside it"),
        ),
        migrations.AddField(
            model_name="rule",
            name="judged_span",
            field=models.CharField(
                default="day", editable=False, help_text="of its windows now", max_length=8
            ),
        ),
        migrations.AlterField(
            model_name="changepoint",
            name="span",
            field=models.CharField(max_length=8),
        ),
        migrations.AlterField(
            model_name="detectorstate",
            name="span",
            field=models.CharField(max_length=8),
        ),
        migrations.AlterField(
            model_name="monitor",
            name="span",
            field=models.CharField(
                default="day", help_text="hour, day, week, month, or 7d and its like", max_length=8
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="span",
            field=models.CharField(
                default="auto",
                help_text="hour, day, week, month, 7d and its like, or auto: its monitor's",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="stalewindow",
            name="span",
            field=models.CharField(max_length=8),
        ),
        migrations.RunPython(keep_spans, migrations.RunPython.noop),
    ]
