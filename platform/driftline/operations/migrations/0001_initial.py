import django.db.models.deletion
from django.db import migrations, models

from driftline.base.database.tables_at_once import at_once


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='DiskSample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_index=True)),
                ('database_bytes', models.BigIntegerField()),
                ('log_bytes', models.BigIntegerField(help_text='of predictions, their ids and labels, with their indexes')),
                ('summary_bytes', models.BigIntegerField(help_text='of summaries and metric points, with their indexes')),
                ('home_free_bytes', models.BigIntegerField()),
                ('database_free_bytes', models.BigIntegerField(help_text='empty where the server is not ours: its disk is not seen from here', null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, unique=True)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='AppliedConfiguration',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('document', models.JSONField()),
                ('applied_at', models.DateTimeField()),
                ('applied_by', models.CharField(max_length=200)),
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='applied_configuration', to='accounts.project')),
            ],
        ),
    ]
    operations = at_once(operations)
