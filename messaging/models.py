import orjson
from django.db import connection, models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from rooms.models import Event
from rooms.models.log import as_json

MAX_BODY = 8_000
MAX_KEY = 64


class MessageQuerySet(models.QuerySet):
    def store(self, messages) -> None:
        """Store new messages, whose events are stored, in one statement."""
        with connection.cursor() as cursor:
            fields = ("event_id", "author_id", "key", "body", "html")
            cursor.execute(STORE_MESSAGES, [as_json(messages, fields)])

    def stored(self, names):
        """What is stored under the names, pairs of (author_id, key):
        {name: (room_id, seq, body, me)}."""
        asked = [{"author_id": author_id, "key": key} for author_id, key in names]
        with connection.cursor() as cursor:
            cursor.execute(FIND_STORED, [orjson.dumps(asked).decode()])
            return {(row[0], row[1]): row[2:] for row in cursor.fetchall()}


STORE_MESSAGES = """
    INSERT INTO messaging_message (event_id, author_id, key, body, html)
    SELECT event_id, author_id, key, body, html FROM json_to_recordset(%s) AS new(
        event_id bigint, author_id bigint, key text, body text, html text
    )
"""
FIND_STORED = """
    SELECT author_id, key, room_id, seq, body, data ? 'me'
    FROM json_to_recordset(%s) AS asked(author_id bigint, key text)
    JOIN messaging_message USING (author_id, key)
    JOIN rooms_event ON rooms_event.id = event_id
"""


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

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            models.UniqueConstraint(fields=["author", "key"], name="one_message_a_key"),
            models.CheckConstraint(condition=~Q(key=""), name="message_has_a_key"),
        ]

    def __str__(self) -> str:
        return f"#{self.event_id}"
