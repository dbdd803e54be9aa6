from collections.abc import Callable

from django.db import migrations

NAMES = {
    "Inputs are broken": "Data quality failure",
    "Inputs have moved": "Feature drift",
    "Inputs drift slowly": "Slow feature drift",
    "Predictions stay away": "Traffic drop",
    "Labels stay away": "Labels missing",
    "Labels come late": "Labels delayed",
    "Answers are slow": "High latency",
    "Ranks late flights worse than it used to": "ROC AUC below 0.65",
}


def rename(names: dict[str, str]) -> Callable[..., None]:
    """Rename the rules of each model that has no rule of the new name, and what started runs.

    Rules are found by name, so the default rules would otherwise be added a second time.
    """

    def change(apps, schema_editor):  # type: ignore[no-untyped-def]
        rules, runs = apps.get_model("monitors", "Rule").objects, apps.get_model("monitors", "Run").objects
        for old, new in names.items():
            has_new = list(rules.filter(name=new).values_list("model_id", flat=True))
            renamed = rules.filter(name=old).exclude(model_id__in=has_new)
            models = list(renamed.values_list("model_id", flat=True))
            renamed.update(name=new)
            runs.filter(model_id__in=models, trigger=f"rule {old}").update(trigger=f"rule {new}")

    return change


class Migration(migrations.Migration):
    dependencies = [("monitors", "0031_annotations")]

    operations = [
        migrations.RunPython(rename(NAMES), rename({new: old for old, new in NAMES.items()})),
    ]
