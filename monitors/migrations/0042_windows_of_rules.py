"""Rules of n of m windows, and a recovery apart from the threshold; pending rules keep their windows."""

from typing import Any

import django.core.validators
from django.db import migrations, models
from django.db.models import ExpressionWrapper, F, Value
from django.db.models.functions import Repeat


def keep_streaks(apps: Any, _: Any) -> None:
    states = apps.get_model("monitors", "RuleState").objects.filter(standing="pending")
    states.update(recent=Repeat(Value("x"), ExpressionWrapper(F("streak"), models.IntegerField())))


class Migration(migrations.Migration):
    dependencies = [
        ("monitors", "0041_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="rule",
            name="of_windows",
            field=models.IntegerField(
                blank=True,
                help_text="among how many in a row they may lie; empty: each of them is one",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="recovery_threshold",
            field=models.FloatField(
                blank=True, help_text="what a good window has to reach; empty: the threshold", null=True
            ),
        ),
        migrations.AddField(
            model_name="rulestate",
            name="recent",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="of a rule that does not fire: see RuleProgress",
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="for_windows",
            field=models.IntegerField(
                default=1,
                help_text="windows beyond the threshold, by default in a row",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AlterField(
            model_name="rulestate",
            name="streak",
            field=models.IntegerField(default=0, help_text="windows that speak for a change of standing"),
        ),
        migrations.RunPython(keep_streaks, migrations.RunPython.noop),
    ]
