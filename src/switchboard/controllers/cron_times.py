"""The times of a cron schedule (pure). Source: robfig/cron v3 spec.go.

In a zone with daylight saving, a time that the clock skips does not happen and one that it repeats happens once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.objects.cron import Schedule

_YEARS = 5  # how far ahead a time is looked for: a schedule for 30 February has none


def after(schedule: Schedule, zone: ZoneInfo | None, moment: float) -> float | None:
    """The first time of the schedule after `moment` (seconds since the epoch); None when there is none for years."""
    if schedule.every:
        return float(int(moment + schedule.every))
    tz = zone or UTC
    at = datetime.fromtimestamp(int(moment) - int(moment) % 60 + 60, UTC).astimezone(tz).replace(tzinfo=None)
    limit = at.year + _YEARS
    while at.year <= limit:
        if at.month not in schedule.months:
            at = _next_month(at)
        elif not _day_fits(schedule, at):
            at = at.replace(hour=0, minute=0) + timedelta(days=1)
        elif at.hour not in schedule.hours:
            at = at.replace(minute=0) + timedelta(hours=1)
        elif at.minute not in schedule.minutes:
            at += timedelta(minutes=1)
        else:
            aware = at.replace(tzinfo=tz)
            real = aware.astimezone(UTC)
            if real.astimezone(tz).replace(tzinfo=None) == at and real.timestamp() > moment:
                return real.timestamp()
            at += timedelta(minutes=1)
    return None


def _next_month(at: datetime) -> datetime:
    first = at.replace(day=1, hour=0, minute=0)
    return first.replace(year=at.year + 1, month=1) if at.month == 12 else first.replace(month=at.month + 1)


def _day_fits(schedule: Schedule, at: datetime) -> bool:
    day, weekday = at.day in schedule.days, at.isoweekday() % 7 in schedule.weekdays
    return (day and weekday) if schedule.any_day else (day or weekday)
