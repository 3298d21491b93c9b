"""Markdown to HTML that is safe to show: once, on the server, when it is said.

CommonMark without raw HTML and images by markdown-it-py, colours for code by Pygments
(classes, no inline styles), and over all of it nh3, which lets through only what the
lists here name. Behind it stands the page's content security policy.

The time this takes is bounded for every input that we know (`make fuzz` looks for
others), but not by proof: so a server calls it in a worker, which has a deadline.
"""

import re

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from pygments import highlight
from pygments.formatters import HtmlFormatter

from messaging.rendering.languages import lexer_of, weight_of
from messaging.rendering.plain import to_html_if_plain, to_plain_html

MAX_HTML = 64 * 1024
MAX_COLOURED = 2_000  # characters of code with colours in one message
MAX_CELLS = 1_000  # of all tables; short rows are filled up, so few letters make many
MAX_LINKS = 100  # found in the text; the finder looks at all that follows each of them

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "blockquote", "ul", "ol", "li"),
    *("a", "code", "pre", "span", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
CODE_CLASS = re.compile(r"[a-z0-9]{1,3}")  # as Pygments names them: "k", "s1", "kc"

LINK = re.compile("//|mailto:", re.I)
_formatter = HtmlFormatter(nowrap=True)


def _colour(code, language, _attributes):
    if not weight_of(language):
        return ""
    return highlight(code, lexer_of(language), _formatter)


def _parser(links, tables):
    options = {
        "html": False,
        "linkify": links,
        "breaks": True,
        "highlight": _colour,
        "maxNesting": 20,
    }
    parser = MarkdownIt("commonmark", options)
    parser.enable(["linkify", "strikethrough", *(["table"] if tables else [])])
    parser.disable(["image", "html_block", "html_inline"])
    # A link begins with a scheme: "setup.py" and "e.g.this" are no addresses.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    return parser


_parsers = {
    (links, tables): _parser(links, tables)
    for links in (True, False)
    for tables in (True, False)
}


def _keep_attribute(tag, name, value):
    if name == "class":
        keep = tag == "span" and CODE_CLASS.fullmatch(value)
        return value if keep else None
    return value


def to_html(body):
    """`body` (Markdown) as clean HTML of at most 64 KiB; plain text if it is more."""
    if html := to_html_if_plain(body):
        return html
    html = clean(_render(body))
    shown = html and len(html.encode()) <= MAX_HTML
    return html if shown else to_plain_html(body)


def _render(body):
    parser = _parsers[_has_few_links(body), _has_few_cells(body)]
    tokens = parser.parse(body)
    _bound_colours(tokens)
    return parser.renderer.render(tokens, parser.options, {})


def _has_few_links(body):
    return len(LINK.findall(body)) <= MAX_LINKS


def _has_few_cells(body):
    """Whether all lines could be rows as wide as the widest without too many cells."""
    lines = body.split("\n")
    columns = 1 + max(line.count("|") for line in lines)
    return columns * len(lines) <= MAX_CELLS


def _bound_colours(tokens) -> None:
    left = MAX_COLOURED
    for token in tokens:
        if token.type == "fence":
            left -= weight_of(_language(token)) * len(token.content)
            if left < 0:
                token.info = ""


def _language(fence):
    return (unescapeAll(fence.info).split() or [""])[0]


def clean(html):
    """`html` with nothing in it but what the lists here name."""
    return nh3.clean(
        html,
        tags=TAGS,
        attributes={**ATTRIBUTES, "span": {"class"}},
        attribute_filter=_keep_attribute,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    ).strip()
