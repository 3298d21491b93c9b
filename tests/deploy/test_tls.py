"""As in public: everything over TLS."""

import re
import socket
import ssl

import httpx
import pytest

from tests.deploy.conftest import settle
from tests.support.deployment import Deployment, new_folder
from tests.support.room_client import RoomClient

CSRF = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
A_YEAR = "max-age=31536000"


@pytest.fixture(scope="module")
def site(deployable):
    site = Deployment(new_folder(), daphnes=1, tls=True)
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def trust(site):
    return ssl.create_default_context(cafile=site.nginx.certificate)


@pytest.fixture(scope="module")
def keys(site):
    return settle(site)


@pytest.fixture
def browser(site, trust, keys):
    with httpx.Client(base_url=site.url, verify=trust) as client:
        yield client


def sign_in(browser):
    page = browser.get("/accounts/login/")
    [token] = set(CSRF.findall(page.text))
    data = {"login": "ann", "password": "x", "csrfmiddlewaretoken": token}
    return browser.post(
        "/accounts/login/", data=data, headers={"Origin": page_origin(page)}
    )


def page_origin(page):
    return f"https://{page.url.netloc.decode()}"


def test_cookies_are_bound_to_the_host_and_to_tls(browser):
    response = sign_in(browser)
    assert response.status_code == 302
    cookies = {
        cookie.partition("=")[0]: {part.strip() for part in cookie.split(";")[1:]}
        for cookie in response.headers.get_list("Set-Cookie")
    }
    assert set(cookies) >= {"__Host-sessionid", "__Host-csrftoken"}
    for name in ("__Host-sessionid", "__Host-csrftoken"):
        assert cookies[name] >= {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
        assert not any(part.startswith("Domain") for part in cookies[name])


def test_a_form_of_another_origin_is_refused(browser):
    page = browser.get("/accounts/login/")
    [token] = set(CSRF.findall(page.text))
    data = {"login": "ann", "password": "x", "csrfmiddlewaretoken": token}
    for origin in ("http://localhost", page_origin(page).replace("https", "http")):
        headers = {"Origin": origin}
        answer = browser.post("/accounts/login/", data=data, headers=headers)
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/accounts/login/", "/static/css/base.css"])
def test_browsers_are_told_once_to_come_over_tls_only(browser, path):
    assert browser.get(path).headers.get_list("Strict-Transport-Security") == [A_YEAR]


def test_who_comes_without_tls_is_sent_there(site):
    response = httpx.get(
        f"http://127.0.0.1:{site.nginx.http_port}/rooms/?a=b",
        headers={"Host": "localhost"},
    )
    assert response.status_code == 301
    assert response.headers["Location"] == f"{site.url}/rooms/?a=b"


def test_a_certificate_authority_finds_its_answer(site):
    folder = site.nginx.etc / "acme" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("proof")
    response = httpx.get(
        f"http://127.0.0.1:{site.nginx.http_port}/.well-known/acme-challenge/token",
        headers={"Host": "localhost"},
    )
    assert response.text == "proof"


def shake_hands(site, context, name="localhost"):
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", site.nginx.port), timeout=5) as line,
        context.wrap_socket(line, server_hostname=name) as secret,
    ):
        return secret.version()


def test_tls_is_new(site):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(site, old)
    middle = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    middle.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(site, middle) == "TLSv1.2"
    assert shake_hands(site, ssl.create_default_context()) == "TLSv1.3"


def test_another_name_gets_no_handshake(site):
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        shake_hands(site, ssl.create_default_context(), "evil.example")


def test_another_host_over_a_good_handshake_gets_nothing(browser):
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        browser.get("/", headers={"Host": "evil.example"})


async def test_talk_goes_over_tls(site, trust, keys):
    class Lobby:
        slug = "lobby"

    cookie = {"Cookie": f"__Host-sessionid={keys['ann']}"}
    options = {"additional_headers": cookie, "ssl": trust}
    async with RoomClient(site, Lobby, "", **options) as page:
        await page.say("in secret")


async def test_a_page_without_tls_opens_no_socket(site, trust, keys):
    class Lobby:
        slug = "lobby"

    options = {
        "additional_headers": {"Cookie": f"__Host-sessionid={keys['ann']}"},
        "ssl": trust,
        "origin": site.url.replace("https", "http"),
    }
    with pytest.raises(Exception, match="HTTP 403"):
        await RoomClient(site, Lobby, "", **options).__aenter__()
