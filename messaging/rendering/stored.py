"""HTML that is stored already: that of a restored backup was made elsewhere, perhaps
by a former version with other lists, perhaps by somebody who wants in."""

from messaging.models import Message
from messaging.rendering.markdown import MAX_HTML, clean
from messaging.rendering.plain import to_plain_html

BATCH = 1_000  # messages
# A paragraph of nothing but text, as most are, is clean; PostgreSQL sees that faster.
CLEAN = r"^<p>[^<>&]*</p>$"


def clean_all(tell=lambda count: None):
    """Clean the HTML of all messages by today's lists (sync); `tell(count)` is called
    for each batch that was looked at. Returns how many messages changed."""
    marked_up = Message.objects.exclude(html__regex=CLEAN).order_by("pk")
    changed, last = 0, 0
    while batch := list(marked_up.filter(pk__gt=last)[:BATCH]):
        unclean = [message for message in batch if _clean(message)]
        Message.objects.bulk_update(unclean, ["html"])
        changed, last = changed + len(unclean), batch[-1].pk
        tell(len(batch))
    return changed


def count_marked_up():
    """How many messages `clean_all` looks at (sync)."""
    return Message.objects.exclude(html__regex=CLEAN).count()


def _clean(message):
    """Clean one's HTML; whether it was not clean."""
    plain, before = to_plain_html(message.body), message.html
    if before != plain:
        html = clean(before) if len(before) <= MAX_HTML else ""
        message.html = html or plain
    return message.html != before
