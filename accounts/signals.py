"""What accounts tell whoever listens."""

from django.dispatch import Signal

# A session has ended, by whatever hand; sent when that is committed.
# `session_key`: the session. `successor`: None, or the key under which the same browser
# goes on (Django gives out a new key when the person changes their password).
session_ended = Signal()
