"""What accounts tell whoever listens."""

from django.dispatch import Signal

# A session has ended, by whatever hand; sent when that is committed.
# `session_hash`: the session, by its key's hash. `successor`: None, or the hash of the
# key with which the same browser goes on (Django gives out a new one when the person
# changes their password).
session_ended = Signal()
