"""The database's clock, the same for all server processes."""

from django.db.models import DateTimeField, Func

# Now() is when the transaction began, which may be before a lock was waited for.
CLOCK = Func(function="clock_timestamp", output_field=DateTimeField())
