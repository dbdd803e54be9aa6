"""Who gets digests, and when."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.accounts.models import User


class Digest(models.Model):
    """A person's choice; without a row there is no digest."""

    class Every(models.TextChoices):
        DAY = "day", "Every day"
        WEEK = "week", "Every week"

    class Weekday(models.IntegerChoices):
        MONDAY = 0
        TUESDAY = 1
        WEDNESDAY = 2
        THURSDAY = 3
        FRIDAY = 4
        SATURDAY = 5
        SUNDAY = 6

    user = models.OneToOneField(User, models.CASCADE, related_name="digest")
    every = models.CharField(max_length=5, choices=Every)
    weekday = models.IntegerField(choices=Weekday, default=Weekday.MONDAY, help_text="of a weekly one")
    hour = models.IntegerField(default=8, help_text="0 to 23, in the time zone")
    zone = models.CharField(max_length=64, default="UTC", help_text="a name of the IANA database")
    covered_until = models.DateTimeField(db_default=Now(), help_text="the next one begins here")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(hour__gte=0, hour__lte=23), name="hour_of_a_digest"),
            models.CheckConstraint(condition=Q(weekday__gte=0, weekday__lte=6), name="weekday_of_a_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_every_display()} at {self.hour}:00 {self.zone}"
