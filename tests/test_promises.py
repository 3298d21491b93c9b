"""What the front end promises, read from its files. (What runs is tested in pages.)"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SHEETS = sorted((ROOT / "static" / "css").glob("*.css"))
MODULES = sorted((ROOT / "static" / "js").rglob("*.js"))
TOKENS = ROOT / "static" / "css" / "tokens.css"
ICONS = ROOT / "static" / "img" / "icons.svg"


def by_name(paths):
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return {"argvalues": paths, "ids": names}


def without_comments(css):
    return re.sub(r"/\*.*?\*/", "", css, flags=re.S)


def test_the_files_are_found():
    assert len(TEMPLATES) > 20
    assert len(SHEETS) > 10
    assert len(MODULES) > 20


# Templates -------------------------------------------------------------------------

# What a strict Content-Security-Policy stops, or what only works without one.
INLINE = {
    "a script": r"<script(?![^>]*\b(?:src=|type=.(?:importmap|application/json)\b))",
    "a style sheet": r"<style\b",
    "a style": r"<[^>]*\sstyle\s*=",
    "a handler": r"<[^>]*\son[a-z]+\s*=",
    "a script as an address": r"javascript:",
    "a data address": r"(?:src|href)\s*=\s*.data:",
    "another site": r"(?:src|srcset|action)\s*=\s*.(?:https?:)?//",
    "text that is not escaped": r"(?<!field\.help_text)\|\s*safe\b|autoescape\s+off",
}


@pytest.mark.parametrize("template", **by_name(TEMPLATES))
def test_a_template_holds_nothing_inline(template):
    found = {
        name: re.search(what, template.read_text()) for name, what in INLINE.items()
    }
    assert found == dict.fromkeys(INLINE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a script", "<script>alert(1)</script>"),
        ("a script", "<script nonce='x' type='module'>"),
        ("a style sheet", "<style>p {}</style>"),
        ("a style", "<p class='x' style='color: red'>"),
        ("a handler", '<a href="/" onclick="go()">'),
        ("a script as an address", '<a href="javascript:go()">'),
        ("a data address", '<img src="data:image/png">'),
        ("another site", '<img src="//evil.example/x.png">'),
        ("text that is not escaped", "{{ body|safe }}"),
    ],
)
def test_what_is_inline_is_seen(name, text):
    assert re.search(INLINE[name], text)


def test_every_static_file_that_a_template_names_is_there():
    named = {
        name
        for template in TEMPLATES
        for name in re.findall(r"\{% static '([^']+)' %\}", template.read_text())
    }
    assert "js/app/main.js" in named
    assert [name for name in named if not (ROOT / "static" / name).is_file()] == []


def test_every_style_sheet_is_used():
    templates = "".join(template.read_text() for template in TEMPLATES)
    assert [
        sheet.name for sheet in SHEETS if f"css/{sheet.name}" not in templates
    ] == []


def test_every_button_says_what_it_does():
    """By words within, or by a label; an icon alone has no name to be read out."""
    nameless = [
        (template.name, button)
        for template in TEMPLATES
        for button in re.findall(r"<button\b.*?</button>", template.read_text(), re.S)
        if "aria-label" not in button and not re.search(WORDS, button)
    ]
    assert nameless == []


WORDS = r"\{% (?:block)?translate|data-slot|\{\{"


def test_every_icon_is_drawn():
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', ICONS.read_text()))
    templates = "".join(template.read_text() for template in TEMPLATES)
    used = set(re.findall(r'icon\.html" with name="([\w-]+)"', templates))
    assert len(used) > 10
    assert used <= drawn, used - drawn


# Modules ---------------------------------------------------------------------------


@pytest.mark.parametrize("module", **by_name(MODULES))
def test_a_module_imports_by_bare_names_of_the_map(module):
    import_map = (ROOT / "templates" / "importmap.html").read_text()
    code = module.read_text()
    named = re.findall(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']""", code)
    for name in named:
        assert f'"{name}": ' in import_map, name
    assert len(named) == len(re.findall(r"^import\b|\bimport\(", code, re.M))


def test_parts_of_the_screen_know_nothing_of_rooms():
    """What stands in ui/ serves any page: it imports only from its own folder."""
    folder = ROOT / "static" / "js" / "ui"
    own = {module.stem for module in folder.glob("*.js")}
    named = {
        name
        for module in folder.glob("*.js")
        for name in re.findall(r'from "rollcall/([^"]+)"', module.read_text())
    }
    assert "dom" in named
    assert named <= own


def test_markup_is_set_in_one_place():
    """What the server cleaned comes in there; all else enters as text."""
    sinks = (
        r"\.(?:inner|outer)HTML\s*=|insertAdjacentHTML|setHTMLUnsafe|document\.write"
        r"|createContextualFragment|DOMParser|\beval\(|new Function"
    )
    places = [one.name for one in MODULES if re.search(sinks, one.read_text())]
    assert places == ["dom.js"]


# Style sheets ----------------------------------------------------------------------


@pytest.mark.parametrize("sheet", **by_name(SHEETS))
def test_a_style_sheet_loads_nothing_from_elsewhere(sheet):
    css = without_comments(sheet.read_text())
    assert re.findall(r"@import|https?:|url\(\s*[\"']?//", css) == []


@pytest.mark.parametrize("sheet", **by_name(SHEETS))
def test_colours_have_names(sheet):
    """A raw colour stands in tokens.css, so that a theme is one file. (A mask has no
    colour, and an avatar's is worked out.)"""
    raw = r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|oklch|oklab|lab|lch)\((?![^)]*var\()"
    css = re.sub(r"mask-image:[^;}]*", "", without_comments(sheet.read_text()))
    found = re.findall(raw, css, re.I)
    assert bool(found) == (sheet == TOKENS), found


def test_every_custom_property_in_use_is_defined():
    sheets = "".join(without_comments(sheet.read_text()) for sheet in SHEETS)
    scripts = "".join(module.read_text() for module in MODULES)
    used = set(re.findall(r"var\((--[\w-]+)", sheets))
    defined = set(re.findall(r"(--[\w-]+)\s*:", sheets))
    defined |= set(re.findall(r"setProperty\(\s*[\"'](--[\w-]+)", scripts))
    assert len(used) > 10
    assert used <= defined, used - defined


def test_what_all_pages_share_names_nobody():
    """rows.html is kept for everybody who reads in one language."""
    shared = (ROOT / "templates" / "messaging" / "rows.html").read_text()
    theirs = re.findall(
        r"\b(?:page|request|room|rooms|user|membership|may)\.\w+", shared
    )
    assert theirs == []
    assert "data-slot" in shared
