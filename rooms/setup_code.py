"""The set-up code: it shows, on the first-run page, who runs the machine.

A new host name is public (certificate transparency) before anybody has opened it, so
being first proves nothing. The code is not stored: whoever has the installation's
secrets can work it out, in every process and container, and nobody else.
"""

from base64 import b32encode

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from rooms.models import Installation

LETTERS = 12  # of 5 bits each
GROUP = 4


def is_needed() -> bool:
    """Not on loopback, where only people of this machine come."""
    return not settings.ON_LOOPBACK


def setup_code():
    """As printed: XXXX-XXXX-XXXX, letters and the digits 2 to 7."""
    letters = _letters()
    return "-".join(letters[at : at + GROUP] for at in range(0, LETTERS, GROUP))


def is_setup_code(text):
    """Whether it is the code, however it is cased and grouped."""
    typed = "".join(text.upper().replace("-", " ").split())
    return constant_time_compare(typed, _letters())


def _letters():
    epoch = Installation.current().epoch
    digest = salted_hmac("rooms.setup_code", epoch, algorithm="sha256").digest()
    return b32encode(digest).decode()[:LETTERS]
