"""Passkeys in a real browser, by an authenticator that Chromium plays."""

import pytest
from allauth.account.internal.flows.login import (
    AUTHENTICATION_METHODS_SESSION_KEY as RECORDS,
)
from django.test import Client

from accounts.models import User
from tests.support.fixtures import make_person
from tests.support.second_factors import FACTORS

PASSWORD = "correct horse battery"


@pytest.fixture
def site(serve):
    """A server's address; passkeys take a name."""
    server = serve(ADMIN_SECOND_FACTOR="true")
    make_person("boss", password=PASSWORD, is_staff=True, is_superuser=True)
    return f"http://localhost:{server.port}"


@pytest.fixture
def page(browser):
    with browser.new_context(locale="en") as context:
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda line: page.complaints.append(line.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        yield page


@pytest.fixture
def key(page):
    """The person's security key, which they touch at once: a CDP session."""
    chrome = page.context.new_cdp_session(page)
    chrome.send("WebAuthn.enable")
    options = {
        **{"protocol": "ctap2", "transport": "usb"},
        **{"hasUserVerification": True, "isUserVerified": True},
        "automaticPresenceSimulation": True,
    }
    made = chrome.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    chrome.id = made["authenticatorId"]
    return chrome


def sign_in(page, site, next="/rooms/"):
    page.goto(f"{site}/accounts/login/?next={next}")
    page.fill("[name=login]", "boss")
    page.fill("[name=password]", PASSWORD)
    page.click("button.primary")


def add_passkey(page, site):
    page.goto(f"{site}{FACTORS}webauthn/add/")
    page.fill("[name=password]", PASSWORD)
    page.click("button.primary")
    page.fill("[name=name]", "My key")
    page.click("button:has-text('Add passkey')")
    page.wait_for_url("**/recovery-codes/")


def test_a_passkey_opens_the_admin(site, page, key):
    sign_in(page, site, next="/admin/")
    page.wait_for_url(f"**{FACTORS}")
    add_passkey(page, site)
    page.click("text=Continue to administration")
    assert page.title() == "Site administration | Django site admin"
    page.context.clear_cookies()
    sign_in(page, site, next="/admin/")
    page.wait_for_url("**/authenticate/")
    page.click("text=Use a passkey")
    page.wait_for_url("**/admin/")
    make_it_long_ago(page)
    page.goto(f"{site}/admin/accounts/user/")
    page.click("text=Use a passkey")
    page.wait_for_url("**/admin/accounts/user/")
    assert page.complaints == []


def make_it_long_ago(page):
    """All that this browser has shown of itself was shown an hour ago."""
    [cookie] = [one for one in page.context.cookies() if one["name"] == "sessionid"]
    client = Client()
    client.cookies["sessionid"] = cookie["value"]
    store = client.session
    store[RECORDS] = [record | {"at": record["at"] - 3600} for record in store[RECORDS]]
    # By a new key, of which the server's own cache knows nothing.
    store.cycle_key()
    page.context.add_cookies([cookie | {"value": store.session_key}])


def test_an_answer_is_good_once_and_for_its_own_person(site, page, key):
    sign_in(page, site)
    add_passkey(page, site)
    page.context.clear_cookies()
    sign_in(page, site)
    page.wait_for_url("**/authenticate/")
    page.evaluate("() => { HTMLFormElement.prototype.submit = () => {} }")
    page.click("text=Use a passkey")
    page.wait_for_function("document.querySelector('[data-passkey]').credential.value")
    answer = page.eval_on_selector("[data-passkey]", "form => form.credential.value")
    assert '"signature"' in answer

    def post():
        return page.evaluate(
            """async answer => {
              const body = new FormData(document.querySelector("[data-passkey]"))
              body.set("credential", answer)
              const { redirected, status } = await fetch("", { method: "POST", body })
              return [status, redirected]
            }""",
            answer,
        )

    page.reload()  # which asks for the signature of something else
    assert post() == [200, False]
    assert post() == [200, False]


def test_without_the_key_one_is_told(site, page, key):
    sign_in(page, site)
    add_passkey(page, site)
    page.context.clear_cookies()
    key.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key.id})
    sign_in(page, site)
    page.wait_for_url("**/authenticate/")
    page.evaluate("() => { navigator.credentials.get = () => Promise.reject() }")
    page.click("text=Use a passkey")
    page.wait_for_selector("text=The passkey didn’t work.")
    assert User.objects.get().has_second_factor


def test_where_a_browser_knows_none_the_page_says_so(site, page):
    page.add_init_script("delete globalThis.PublicKeyCredential")
    sign_in(page, site)
    page.goto(f"{site}{FACTORS}webauthn/add/")
    page.fill("[name=password]", PASSWORD)
    page.click("button.primary")
    page.wait_for_selector("text=This browser doesn’t support passkeys")
    assert not page.is_visible("button:has-text('Add passkey')")
