"""The release after this one, of which only its migrations are known: settings with more migrations of `inference`.

DJANGO_SETTINGS_MODULE=tests.worlds.next_release.settings manage.py upgrade
"""

MIGRATIONS = {"inference": "tests.worlds.next_release.inference"}
SETTINGS = "tests.worlds.next_release.settings"
