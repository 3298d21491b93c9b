"""The cookie by which the next visit opens where the last one ended."""

from django.conf import settings

from rooms.numbers import read_number

COOKIE = "last_room"
A_YEAR = 365 * 86_400  # seconds


def remember(response, room) -> None:
    response.set_cookie(
        COOKIE,
        str(room.pk),
        max_age=A_YEAR,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def recall(request):
    """The id of the room, or None. A cookie can hold anything."""
    return read_number(request.COOKIES.get(COOKIE, ""))
