"""Markdown in, clean HTML out."""

import re
import time
from html.parser import HTMLParser
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.rendering.markdown import MAX_HTML, SCHEMES, TAGS, to_html
from messaging.rendering.plain import PLAIN
from tests.support.slow_texts import SLOW, table

SAID = {
    "plain": ("hi", "<p>hi</p>"),
    "emphasis": (
        "**b** *e* ~~s~~",
        "<p><strong>b</strong> <em>e</em> <s>s</s></p>",
    ),
    "code": ("`x<y`", "<p><code>x&lt;y</code></p>"),
    "lines": ("a\nb", "<p>a<br>\nb</p>"),
    "list": ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
    "quote": ("> q", "<blockquote>\n<p>q</p>\n</blockquote>"),
    "emoji": ("👩‍👩‍👧 🎉", "<p>👩‍👩‍👧 🎉</p>"),
    "no tags": ("<b>x</b> &amp;", "<p>&lt;b&gt;x&lt;/b&gt; &amp;</p>"),
    "no link without a scheme": ("see setup.py", "<p>see setup.py</p>"),
}


@pytest.mark.parametrize(("body", "html"), SAID.values(), ids=SAID)
def test_markdown_is_rendered(body, html):
    assert to_html(body) == html


def test_links_open_safely():
    html = to_html("https://example.org/a_b_c")
    assert 'href="https://example.org/a_b_c"' in html
    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_a_text_of_nothing_but_links_is_not_searched_for_them():
    """Its search would take half a second."""
    many = "https://a.example/ " * 100
    assert to_html(many).count("<a ") == 100
    more = many + "HTTPS://b.example/ and [by hand](https://c.example/)"
    assert to_html(more).count("<a ") == 1
    assert "HTTPS://b.example/ and" in to_html(more)


def test_code_has_colours():
    assert '<span class="k">def</span>' in to_html("```python\ndef f(): pass\n```")


def test_unknown_language_is_shown_as_it_is():
    assert "<code>x = 1\n</code>" in to_html("```klingon\nx = 1\n```")


def test_only_so_much_code_has_colours():
    few, many = (
        "```python\ndef f(): pass\n```\n",
        "```python\n" + "x = 1\n" * 300 + "```\n",
    )
    assert "<span" in to_html(few + "\n" + few)
    assert "<span" in to_html(many)
    html = to_html(many + "\n" + many)
    assert html.count("<code>") == 2
    assert "<span" not in html.rpartition("<code>")[2]
    assert "<span" in to_html("```c\n" + "x = 1;\n" * 70 + "```")
    assert "<span" not in to_html("```c\n" + "x = 1;\n" * 90 + "```")


def test_a_language_that_is_not_listed_has_no_colours():
    for language in ("mcschema", "maple", "md", "rst", "html+php", "jinja"):
        assert "<span" not in to_html(f"```{language}\n```python\nx = 1 <!-- \n```")


def test_a_table_has_so_many_cells_at_most():
    assert to_html(table(9, 90)).count("<td>") == 810
    assert "<table>" not in to_html(table(9, 130))
    assert "<table>" not in to_html("> - " + table(60, 100).replace("\n", "\n>   "))


@given(st.from_regex(PLAIN, fullmatch=True) | st.text().filter(PLAIN.fullmatch))
def test_the_short_way_for_plain_text_leads_to_the_same_place(body):
    short = to_html(body)
    with patch("messaging.rendering.plain.PLAIN", re.compile("(?!)")):
        assert to_html(body) == short


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
def test_what_was_slow_is_fast(body):
    start = time.process_time()
    html = to_html(body)
    assert time.process_time() - start < 1
    assert len(html) < 4 * len(body) + 100


class Inventory(HTMLParser):
    """All tags, attributes and link schemes of a text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.schemes = set(), set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            self.attributes.add(name)
            if name in ("href", "src"):
                self.schemes.add((value or "").partition(":")[0].lower())


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://a.b/c.png)",
    "<svg/onload=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "<a href='javascript:x'>x</a>",
    '[x](http://a.b "t\\" onclick=alert(1)")',
    "<https://a.b/\"onmouseover='alert(1)'>",
    "[x]: javascript:alert(1)\n\n[x]",
    "```html\n<script>alert(1)</script>\n```",
    "`<script>`",
    "<iframe src=//evil>",
    "<style>*{display:none}</style>",
    "<math><mi xlink:href='javascript:x'>",
    "{{ 7*7 }} {% debug %}",
]


@pytest.mark.parametrize("body", ATTACKS)
def test_an_attack_is_only_text(body):
    assert_clean(to_html(body))


@given(
    st.text(alphabet="<>[]()!\"'`*_~\\/:=&#; \n\tjavascriptonxdg123|-", max_size=200)
)
def test_whatever_is_said_comes_out_clean(body):
    assert_clean(to_html(body))


def assert_clean(html):
    found = Inventory(html)
    assert found.tags <= TAGS
    assert found.attributes <= {"href", "title", "target", "rel", "class", "start"}
    assert found.schemes <= SCHEMES


BOMBS = [">", "[", "*a", "`", "- ", "[a](", "<", "_*", "![[", "&", "|a|\n|-|\n", "~~a"]


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_text_takes_long_or_grows_without_bound(bomb):
    body = (bomb * 8_000)[:8_000]
    start = time.process_time()
    html = to_html(body)
    assert time.process_time() - start < 2
    assert len(html.encode()) <= MAX_HTML


def test_html_over_the_limit_is_stored_as_plain_text():
    body = "http://a.b\n" * 727
    assert len(body) <= 8_000
    assert "<a " in to_html(body[:1000])
    assert "<a " not in to_html(body)
