"""Every page of accounts, whoever asks, in whatever way."""

import pytest
from django.test import Client
from django.urls import get_resolver

PAGES = [
    "",
    "login/",
    "signup/",
    "inactive/",
    "email/",
    "confirm-email/",
    "confirm-email/abc/",
    "language/",
    "password/change/",
    "password/set/",
    "password/reset/",
    "password/reset/done/",
    "password/reset/key/1-abc/",
    "password/reset/key/done/",
    "reauthenticate/",
    "login/code/confirm/",
    "session/",
    "sessions/",
    "sessions/end/",
    "sessions/abc/end/",
    "sign-in-link/abc/",
    "2fa/",
    "2fa/authenticate/",
    "2fa/reauthenticate/",
    "2fa/totp/activate/",
    "2fa/totp/deactivate/",
    "2fa/recovery-codes/",
    "2fa/recovery-codes/generate/",
    "2fa/recovery-codes/download/",
    "2fa/webauthn/",
    "2fa/webauthn/add/",
    "2fa/webauthn/reauthenticate/",
    "2fa/webauthn/keys/1/remove/",
    "2fa/webauthn/keys/1/edit/",
    "logout/",  # the last, for it signs out
]
ADDRESSES = [f"/accounts/{page}" for page in PAGES]


def test_the_list_has_every_page():
    mounted = [p for p in get_resolver().url_patterns if str(p.pattern) == "accounts/"]
    assert sum(map(count, mounted)) == len(PAGES)


def count(pattern):
    nested = getattr(pattern, "url_patterns", None)
    return 1 if nested is None else sum(map(count, nested))


@pytest.fixture(params=["stranger", "member"])
def browser(request, ann):
    client = Client()
    if request.param == "member":
        client.force_login(ann)
    return client


def test_every_page_is_ours_or_leads_elsewhere_or_is_for_posts_only(browser):
    for address in ADDRESSES:
        answer = browser.get(address)
        is_page = answer.status_code in (200, 410)
        if is_page and "html" in answer.headers["Content-Type"]:
            assert_is_ours(answer.content.decode())
        else:
            # What one does not have cannot be changed.
            nothing = answer.status_code == 404 and "/2fa/" in address
            assert nothing or answer.status_code in (200, 302, 405), address


def assert_is_ours(page):
    assert 'class="sheet-body"' in page
    assert "<h1></h1>" not in page
    assert "placeholder" not in page
    assert "style=" not in page
    assert "<script>" not in page


FORM = "application/x-www-form-urlencoded"
POSTS = {
    "nothing": (b"", FORM),
    "NUL": (b"username=%00&email=%00&login=%00&language=%00&password=%00", FORM),
    "JSON": (b'{"login": 1}', "application/json"),
    "multipart without a boundary": (b"--x", "multipart/form-data"),
    "multipart without an end": (
        b'--x\r\nContent-Disposition: form-data; name="login"\r\n\r\na',
        "multipart/form-data; boundary=x",
    ),
    "bytes that are no text": (b"login=\xff\xfe&username=%ff", FORM),
    "an unknown kind": (b"\0\1", "application/x-nothing"),
    "an unknown charset": (b"login=a", f"{FORM}; charset=nothing"),
    "ten thousand fields": (b"&".join(b"f%d=1" % i for i in range(10_000)), FORM),
    "a field of three megabytes": (b"login=" + b"a" * 3_000_000, FORM),
}


@pytest.mark.parametrize("kind", POSTS)
def test_no_post_breaks_a_page(browser, kind):
    for address in ADDRESSES:
        answer = browser.generic("POST", address, *POSTS[kind])
        assert answer.status_code < 500, address


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "FOO"]
)
def test_no_method_breaks_a_page(browser, method):
    for address in ADDRESSES:
        assert browser.generic(method, address).status_code < 500, address


@pytest.mark.parametrize("query", ["next=%00", "next=" + "a" * 9000, "email=%ff", "%"])
def test_no_query_breaks_a_page(browser, query):
    for address in ADDRESSES:
        assert browser.get(f"{address}?{query}").status_code < 500, address


def test_no_form_is_taken_without_its_token(ann):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ann)
    for address in ADDRESSES:
        assert strict.post(address).status_code in (403, 405), address
    assert ann.sessions.count() == 1
