from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from rooms.models import Event

MAX_BODY = 8_000
MAX_KEY = 64


class Message(models.Model):
    """What was said: the text of one `message` event of a room's log.

    `key` is the sender's own name for it. It is unique for ever, which is what makes a
    repeated send one message.
    """

    event = models.OneToOneField(Event, models.CASCADE, primary_key=True)
    author = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    key = models.CharField(max_length=MAX_KEY)
    body = models.TextField(max_length=MAX_BODY)
    html = models.TextField()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            models.UniqueConstraint(fields=["author", "key"], name="one_message_a_key"),
            models.CheckConstraint(condition=~Q(key=""), name="message_has_a_key"),
        ]

    def __str__(self):
        return f"#{self.event_id}"
