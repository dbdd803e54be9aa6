"""A day waits to be read for more than the comparison of all columns together: its name says so."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitors", "0020_learnt_errors")]

    operations = [
        migrations.RenameModel("JointDay", "UnreadDay"),
        migrations.RemoveConstraint("unreadday", "one_joint_day"),
        migrations.AlterField(
            "unreadday",
            "model",
            models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="unread_days", to="inference.model"
            ),
        ),
        migrations.AddConstraint(
            "unreadday", models.UniqueConstraint(fields=("model", "start"), name="one_unread_day")
        ),
    ]
