import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0026_archived_versions_and_datasets"),
        ("monitors", "0036_deleted_channels"),
    ]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("title", models.CharField(max_length=200)),
                ("metric", models.CharField(max_length=40)),
                ("feature", models.CharField(blank=True, max_length=200)),
                ("segment", models.CharField(blank=True, max_length=200)),
                (
                    "severity",
                    models.CharField(
                        choices=[("notice", "Notice"), ("warning", "Warning"), ("critical", "Critical")],
                        max_length=8,
                    ),
                ),
                (
                    "labels",
                    models.JSONField(
                        default=dict, help_text="what it is of, by name: rule, model, metric, kind, ..."
                    ),
                ),
                ("definition", models.JSONField(help_text="its rule when it fired")),
                (
                    "state",
                    models.CharField(
                        choices=[("firing", "Firing"), ("resolved", "Resolved")],
                        default="firing",
                        max_length=8,
                    ),
                ),
                ("since", models.DateTimeField(help_text="event time: its onset")),
                (
                    "window_start",
                    models.DateTimeField(help_text="event time: of the window in which it fired"),
                ),
                ("window_end", models.DateTimeField(help_text="event time")),
                ("value", models.FloatField(null=True)),
                ("n", models.IntegerField()),
                ("threshold", models.FloatField()),
                ("detail", models.JSONField(default=dict, help_text="what was known when it fired")),
                (
                    "last_window_end",
                    models.DateTimeField(help_text="event time: of the newest window noted"),
                ),
                ("resolved_at", models.DateTimeField(blank=True, help_text="event time", null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "incident",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alerts",
                        to="monitors.incident",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alerts",
                        to="inference.model",
                    ),
                ),
                (
                    "opened_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="monitors.transition",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="alerts",
                        to="monitors.rule",
                    ),
                ),
            ],
        ),
        migrations.RemoveConstraint(model_name="incident", name="one_unresolved_incident_a_rule"),
        migrations.AlterField(
            model_name="incident",
            name="opened_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="monitors.transition",
            ),
        ),
        migrations.AlterField(
            model_name="incident",
            name="rule",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="incidents",
                to="monitors.rule",
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="lead",
            field=models.ForeignKey(
                help_text="the most causal alert, which names it",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="monitors.alert",
            ),
        ),
        migrations.AddField(
            model_name="incident",
            name="since",
            field=models.DateTimeField(null=True, help_text="event time: the earliest onset of its alerts"),
        ),
        migrations.AddField(
            model_name="incident",
            name="closed_at",
            field=models.DateTimeField(blank=True, help_text="when somebody closed it by hand", null=True),
        ),
        migrations.AddField(
            model_name="incident",
            name="closed_by",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="incident",
            name="close_reason",
            field=models.CharField(blank=True, help_text="of one closed by hand", max_length=500),
        ),
        migrations.AlterField(
            model_name="incidentevent",
            name="kind",
            field=models.CharField(
                help_text="opened, joined, still_firing, alert_resolved, acknowledged, resolved",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="notify_within",
            field=models.DurationField(help_text="a newest window that ended longer ago notifies nobody"),
        ),
    ]
