"""Refusals as JSON, the same at every address that answers with it."""

from django.http import JsonResponse
from django.utils.translation import gettext_lazy as _

from rooms.rights import Refused

SIGNED_OUT = Refused("signed_out", _("You’re signed out."))
NO_SUCH_ROOM = Refused("no_such_room", _("There’s no such room."))
STATUS = {  # 400 for any other code
    "signed_out": 401,
    "not_allowed": 403,
    "archived": 403,
    "removed": 403,
    "no_such_room": 404,
}


def refuse(refused):
    """A response that tells a Refused: {"code", "detail"}."""
    told = {"code": refused.code, "detail": str(refused.detail)}
    return JsonResponse(told, status=STATUS.get(refused.code, 400))
