"""Plain text as HTML: in time that grows with its length only, so in any process."""

import re
from html import escape

# A text that begins with a letter and has none of these has nothing that Markdown, the
# link finder or HTML would read otherwise: most messages, at a hundredth of the price.
# (One class of characters: an alternative, as for "all spaces but one", takes ten times
# as long. A test compares the two ways.)
SPACES = r"\t-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
PLAIN = re.compile(rf"[^\W\d_][^{SPACES}\x00-\x1f\x7f-\x9f\\`*_\[\]<>&~|@/]*")


def to_html_if_plain(body):
    """`body` as HTML, where Markdown would make no other of it; else None."""
    return f"<p>{body.rstrip()}</p>" if PLAIN.fullmatch(body) else None


def to_plain_html(body):
    """`body` as it was typed, its lines kept."""
    return "<p>" + escape(body.strip()).replace("\n", "<br>") + "</p>"
