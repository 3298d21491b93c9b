"""Markdown to HTML that is safe to show: once, on the server, when it is said.

CommonMark without raw HTML and images by markdown-it-py, colours for code by Pygments
(classes, no inline styles), and over all of it nh3, which lets through only what the
lists here name. Behind it stands the page's content security policy.
"""

import re
from html import escape

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_HTML = 64 * 1024
MAX_COLOURED = 2_000  # characters of code; a lexer's time is not bounded by its input
MAX_LINKS = 100  # found in the text; the finder looks at all that follows each of them

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "blockquote", "ul", "ol", "li"),
    *("a", "code", "pre", "span", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
CODE_CLASS = re.compile(r"[a-z0-9]{1,3}")  # as Pygments names them: "k", "s1", "kc"

# A line that begins with a letter and has none of these has nothing that Markdown, the
# finder of links or HTML would read otherwise: most of what is said, at a tenth of the
# price. (A test compares the two ways.)
PLAIN = re.compile(r"[^\W\d_](?:[^\s\x00-\x1f\x7f-\x9f\\`*_\[\]<>&~|@/]| )*")
LINK = re.compile("//|mailto:", re.I)
_formatter = HtmlFormatter(nowrap=True)


def _colour(code, language, _attributes):
    if not language or len(code) > MAX_COLOURED:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return highlight(code, lexer, _formatter)


def _parser(linkify):
    options = {
        "html": False,
        "linkify": linkify,
        "breaks": True,
        "highlight": _colour,
        "maxNesting": 20,
    }
    parser = MarkdownIt("commonmark", options)
    parser.enable(["linkify", "strikethrough", "table"])
    parser.disable(["image", "html_block", "html_inline"])
    # A link begins with a scheme: "setup.py" and "e.g.this" are no addresses.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    return parser


_with_links, _without = _parser(linkify=True), _parser(linkify=False)


def _keep_attribute(tag, name, value):
    if name == "class":
        keep = tag == "span" and CODE_CLASS.fullmatch(value)
        return value if keep else None
    return value


def to_html(body):
    """`body` (Markdown) as clean HTML of at most 64 KiB; plain text if it is more."""
    if PLAIN.fullmatch(body):
        return f"<p>{body.rstrip()}</p>"
    parser = _with_links if len(LINK.findall(body)) <= MAX_LINKS else _without
    html = nh3.clean(
        parser.render(body),
        tags=TAGS,
        attributes={**ATTRIBUTES, "span": {"class"}},
        attribute_filter=_keep_attribute,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    ).strip()
    return html if len(html.encode()) <= MAX_HTML else to_plain_html(body)


def to_plain_html(body):
    """`body` as it was typed, its lines kept."""
    return "<p>" + escape(body.strip()).replace("\n", "<br>") + "</p>"
