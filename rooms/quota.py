"""How many rooms one person may make in 24 hours."""

from datetime import timedelta

from django.conf import settings
from django.utils.translation import ngettext

from accounts.models import User
from rooms.clock import CLOCK
from rooms.models.log import Event
from rooms.rights import Refused

SPAN = timedelta(hours=24)


def allow_another_room(person):
    """Refused where `person` has made ROOMS_PER_DAY; superusers may go on.

    To be called in the transaction that makes the room. It locks the person's row until
    then, so that two requests at once cannot both be the last one allowed. (NO KEY: the
    lock keeps nobody from storing what this person says.)
    """
    maker = User.objects.select_for_update(no_key=True).get(pk=person.pk)
    if maker.is_superuser:
        return
    # A room's first event is its maker's; the log forgets none.
    made = Event.objects.filter(seq=1, actor=maker).annotate(now=CLOCK)
    oldest = made.order_by("-at")[settings.ROOMS_PER_DAY - 1 :].first()
    if oldest and oldest.at + SPAN > oldest.now:
        raise Refused("too_many_rooms", _told(oldest.at + SPAN - oldest.now))


def _told(left) -> str:
    hours = -(-left // timedelta(hours=1))  # rounded up
    most = ngettext(
        "You’ve created %(count)s room in 24 hours, which is the limit.",
        "You’ve created %(count)s rooms in 24 hours, which is the limit.",
        settings.ROOMS_PER_DAY,
    )
    again = ngettext(
        "You can create another in %(hours)s hour.",
        "You can create another in %(hours)s hours.",
        hours,
    )
    return f"{most % {'count': settings.ROOMS_PER_DAY}} {again % {'hours': hours}}"
