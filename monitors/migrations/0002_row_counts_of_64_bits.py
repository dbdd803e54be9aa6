"""Counts of rows get 64 bits. Each table is rewritten once; the view over packed points is made again around that."""

from pathlib import Path

from django.db import migrations, models

import monitors.metrics.store.models

_VIEW = "CREATE VIEW monitors_metricpoint"
_MAKE_VIEW = _VIEW + Path(__file__).with_name("initial.sql").read_text().partition(_VIEW)[2]


def _columns_of(whole: str) -> str:
    """Write the statements that make all counts whole numbers of this type."""
    return f"""
        DROP VIEW monitors_metricpoint;
        ALTER TABLE monitors_summary ALTER "rows" TYPE {whole}, ALTER labelled TYPE {whole};
        ALTER TABLE monitors_packedpoints ALTER n TYPE {whole}, ALTER ns TYPE {whole}[];
        ALTER TABLE monitors_nulldraws ALTER size TYPE {whole};
        ALTER TABLE monitors_jointnulldraws ALTER size TYPE {whole};
        ALTER TABLE monitors_transition ALTER n TYPE {whole};
        ALTER TABLE monitors_alert ALTER n TYPE {whole};
        {_MAKE_VIEW}
    """


class Migration(migrations.Migration):
    dependencies = [("monitors", "0001_initial")]

    operations = [
        migrations.RunSQL(
            _columns_of("bigint"),
            _columns_of("integer"),
            state_operations=[
                migrations.AlterField("summary", "rows", models.BigIntegerField()),
                migrations.AlterField("summary", "labelled", models.BigIntegerField(default=0)),
                migrations.AlterField("packedpoints", "n", models.BigIntegerField()),
                migrations.AlterField(
                    "packedpoints",
                    "ns",
                    monitors.metrics.store.models.NumbersField(
                        "bigint", help_text="where it is not `n`", null=True
                    ),
                ),
                migrations.AlterField(
                    "nulldraws",
                    "size",
                    models.BigIntegerField(help_text="rows of the window, on the grid"),
                ),
                migrations.AlterField(
                    "jointnulldraws", "size", models.BigIntegerField(help_text="rows of the window")
                ),
                migrations.AlterField("transition", "n", models.BigIntegerField()),
                migrations.AlterField("alert", "n", models.BigIntegerField()),
            ],
        )
    ]
