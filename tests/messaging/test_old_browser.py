"""A browser that lacks what the room's modules need is told so, in its language."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import expect

from rooms.models import Visit

SCRIPT = Path(__file__).parents[2] / "static" / "js" / "app" / "old-browser.js"
TAKEN_AWAY = {
    "import maps": "delete HTMLScriptElement.supports",
    "popovers": "delete HTMLElement.prototype.popover",
    "well-formed strings": "delete String.prototype.toWellFormed",
    "segmenter": "delete Intl.Segmenter",
    "timeouts of signals": "delete AbortSignal.timeout",
    "light and dark colours": "CSS.supports = () => false",
    "flag v": """
        const Known = RegExp
        globalThis.RegExp = function (source, flags) {
            if (flags === "v") throw new SyntaxError("Invalid flags")
            return new Known(source, flags)
        }""",
}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def open_room(browser, serve, room, alice):
    """open_room(script): Alice's page of the room, `script` run before its own."""
    server = serve()
    contexts = []

    def open_room(script="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_init_script(script)
        client = Client()
        client.force_login(alice)
        cookie = {"name": settings.SESSION_COOKIE_NAME, "url": server.url}
        context.add_cookies([{**cookie, "value": client.session.session_key}])
        page = context.new_page()
        page.goto(f"{server.url}/rooms/lobby/")
        return page

    yield open_room
    for context in contexts:
        context.close()


def test_a_current_browser_shows_the_room(open_room):
    page = open_room()
    expect(page.locator("#status[data-state=live]")).to_be_visible(timeout=15_000)
    expect(page.locator(".old-browser")).to_be_hidden()


def test_an_old_browser_is_told_so_and_nobody_enters(open_room):
    """One server for all of them: each lacks one thing, and opens no socket."""
    for script in TAKEN_AWAY.values():
        sockets: list[str] = []
        page = open_room(script)
        page.on("websocket", lambda socket, opened=sockets: opened.append(socket.url))
        page.reload(wait_until="networkidle")
        heading = page.get_by_role("heading", name="Please update your browser")
        expect(heading, script).to_be_visible()
        expect(page.locator("main"), script).to_be_hidden()
        assert sockets == [], script
    assert not Visit.objects.exists()


def test_it_is_told_in_russian_too(open_room):
    page = open_room(TAKEN_AWAY["popovers"], locale="ru")
    expect(page.get_by_role("heading", name="Обновите браузер")).to_be_visible()


def test_the_script_is_written_for_browsers_that_know_no_modules():
    """The JavaScript of 2009: what came later would stop it before it could speak."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", SCRIPT.read_text(), flags=re.S)
    assert "document.documentElement" in code
    later = r"=>|`|\?\.|\?\?|\.\.\.|\b(?:let|const|class|async|await|import|export)\b"
    assert re.findall(later, code) == []
