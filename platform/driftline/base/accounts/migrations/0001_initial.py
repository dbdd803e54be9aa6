from pathlib import Path

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from driftline.base.database.tables_at_once import at_once

_SQL = Path(__file__).with_name("initial.sql").read_text()


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditExport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('lease_token', models.BigIntegerField(blank=True, null=True)),
                ('receiver', models.CharField(choices=[('syslog', 'Syslog'), ('otlp', 'OpenTelemetry')], max_length=10, unique=True)),
                ('position', models.BigIntegerField(db_default=0, default=0, help_text='the number in the chain of the last entry that it has')),
                ('sent', models.BigIntegerField(db_default=0, default=0, help_text='entries, those that came twice too')),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.CharField(blank=True, db_default='', default='', help_text='why nothing can be sent', max_length=500)),
                ('failing_since', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='CacheEntry',
            fields=[
                ('key', models.CharField(max_length=250, primary_key=True, serialize=False)),
                ('value', models.JSONField()),
                ('expires_at', models.DateTimeField(db_index=True, null=True)),
            ],
            options={
                'verbose_name_plural': 'cache entries',
            },
        ),
        migrations.CreateModel(
            name='DirectoryToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prefix', models.CharField(max_length=16)),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('allowed_networks', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='in CIDR notation, from which alone it may be used; empty: from anywhere')),
                ('previous_digest', models.CharField(blank=True, db_default='', default='', max_length=64)),
                ('previous_until', models.DateTimeField(blank=True, help_text='when the secret of before the last rotation ends, or ended', null=True)),
                ('provider', models.CharField(max_length=30)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'verbose_name': 'SCIM token',
            },
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('first_name', models.CharField(blank=True, max_length=150, verbose_name='first name')),
                ('last_name', models.CharField(blank=True, max_length=150, verbose_name='last name')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('email', models.EmailField(max_length=254, unique=True)),
                ('provisioned_by', models.CharField(blank=True, db_default='', default='', help_text='the sign-in provider that made the account; empty: a person did', max_length=30)),
                ('directory_name', models.CharField(blank=True, db_default='', default='', help_text='what the provider calls the person, by SCIM', max_length=254)),
                ('external_id', models.CharField(blank=True, db_default='', default='', help_text="the provider's id of the person, by SCIM", max_length=254)),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'verbose_name': 'user',
                'verbose_name_plural': 'users',
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(default='viewer', help_text='viewer, editor, admin, or the name of a role of the project', max_length=40)),
                ('joined_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), help_text='empty for those of before it was kept', null=True)),
                ('last_seen_at', models.DateTimeField(blank=True, help_text='to within five minutes', null=True)),
                ('granted_by', models.CharField(blank=True, db_default='', default='', help_text='the sign-in provider that gives the role; empty: a person did', max_length=30)),
                ('role_by_hand', models.CharField(blank=True, db_default='', default='', help_text='what a person gave, while a provider gives more', max_length=40)),
                ('granted_teams', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='teams that the provider named')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(unique=True)),
                ('name', models.CharField(max_length=100)),
                ('isolation', models.CharField(blank=True, choices=[('none', 'None: its models run in the serving process'), ('process', 'Process: each version runs in a process of its own')], help_text='Where the models run. Empty: in the serving process for the first project, isolated for others.', max_length=10)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('archived_at', models.DateTimeField(blank=True, help_text='since when it is hidden and read only', null=True)),
                ('max_models', models.PositiveIntegerField(blank=True, help_text='Models that it may have, with archived ones. Empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('max_rows_per_second', models.PositiveIntegerField(blank=True, help_text='Rows that may be logged, and asked of its models, through each serving process. Empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('max_bytes', models.PositiveBigIntegerField(blank=True, help_text='Bytes that its log, summaries and artifacts may hold. Empty: no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('stored_bytes', models.BigIntegerField(blank=True, help_text='what they hold, measured every ten minutes where there is a quota', null=True)),
                ('members', models.ManyToManyField(related_name='projects', through='accounts.Membership', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.AddField(
            model_name='membership',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='accounts.project'),
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('email', models.EmailField(max_length=254)),
                ('role', models.CharField(max_length=40)),
                ('generation', models.PositiveIntegerField(default=1, help_text='which of its links is valid: the newest')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('created_by', models.CharField(max_length=200)),
                ('expires_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('mail_error', models.CharField(blank=True, max_length=200)),
                ('accepted_at', models.DateTimeField(blank=True, null=True)),
                ('withdrawn_at', models.DateTimeField(blank=True, null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='accounts.project')),
            ],
        ),
        migrations.CreateModel(
            name='CustomRole',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40)),
                ('scopes', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='custom_roles', to='accounts.project')),
            ],
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project_slug', models.CharField(blank=True, max_length=50)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('actor', models.CharField(max_length=200)),
                ('action', models.CharField(max_length=60)),
                ('subject', models.CharField(max_length=200)),
                ('before', models.JSONField(blank=True, null=True)),
                ('after', models.JSONField(blank=True, null=True)),
                ('address', models.CharField(blank=True, max_length=45)),
                ('token_id', models.BigIntegerField(blank=True, null=True)),
                ('token_name', models.CharField(blank=True, max_length=100)),
                ('correlation', models.CharField(blank=True, max_length=64)),
                ('number', models.BigIntegerField(blank=True, null=True, unique=True)),
                ('digest', models.CharField(blank=True, max_length=64)),
                ('hash', models.CharField(blank=True, max_length=64)),
                ('salt', models.UUIDField(db_default=models.Func(function='gen_random_uuid'))),
                ('redaction', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='accounts.auditentry')),
                ('project', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='audit', to='accounts.project')),
            ],
            options={
                'verbose_name_plural': 'audit entries',
            },
        ),
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prefix', models.CharField(max_length=16)),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('allowed_networks', models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text='in CIDR notation, from which alone it may be used; empty: from anywhere')),
                ('previous_digest', models.CharField(blank=True, db_default='', default='', max_length=64)),
                ('previous_until', models.DateTimeField(blank=True, help_text='when the secret of before the last rotation ends, or ended', null=True)),
                ('name', models.CharField(max_length=100)),
                ('scopes', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('requests_per_second', models.PositiveIntegerField(db_default=0, default=0)),
                ('rows_per_second', models.PositiveIntegerField(db_default=0, default=0)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to='accounts.project')),
            ],
            options={
                'verbose_name': 'API token',
            },
        ),
        migrations.CreateModel(
            name='ProjectTurn',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('lane', models.CharField(max_length=20)),
                ('at', models.DateTimeField()),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
            ],
        ),
        migrations.CreateModel(
            name='Team',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('members', models.ManyToManyField(blank=True, related_name='teams', to='accounts.membership')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='teams', to='accounts.project')),
            ],
        ),
        migrations.CreateModel(
            name='DirectoryGroup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=30)),
                ('display_name', models.CharField(max_length=254)),
                ('external_id', models.CharField(blank=True, max_length=254)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('members', models.ManyToManyField(blank=True, related_name='directory_groups', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('provider', 'display_name'), name='group_name_once_a_provider')],
            },
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('project', 'user'), name='one_membership_a_person'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.UniqueConstraint(condition=models.Q(('accepted_at', None), ('withdrawn_at', None)), fields=('project', 'email'), name='one_open_invitation_an_address'),
        ),
        migrations.AddConstraint(
            model_name='customrole',
            constraint=models.UniqueConstraint(fields=('project', 'name'), name='role_name_once_a_project'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['project', '-at'], name='audit_newest'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['subject', '-at'], name='audit_of_subject'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['-at'], name='audit_by_time'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(condition=models.Q(('number', None)), fields=['id'], name='audit_not_sealed'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(condition=models.Q(('action', 'audit.redact')), fields=['id'], name='audit_redactions'),
        ),
        migrations.AddIndex(
            model_name='apitoken',
            index=models.Index(fields=['previous_digest'], name='token_previous_digest'),
        ),
        migrations.AddConstraint(
            model_name='projectturn',
            constraint=models.UniqueConstraint(fields=('project', 'lane'), name='one_turn_a_lane'),
        ),
        migrations.AddConstraint(
            model_name='team',
            constraint=models.UniqueConstraint(fields=('project', 'name'), name='team_name_once_a_project'),
        ),
        migrations.RunSQL(_SQL),
    ]
    operations = at_once(operations)
