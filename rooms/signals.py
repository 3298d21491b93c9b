"""What rooms tells the apps above it."""

from django.dispatch import Signal

# A room's log grew; sent once the transaction has committed.
# Arguments: room_id (int), epoch (str, of the numbers), events (list[Event], in order
# of seq, without a hole).
appended = Signal()
