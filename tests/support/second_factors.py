"""An authenticator app for the tests, and how one is set up."""

import re
import time

from allauth.mfa.totp.internal import auth

FACTORS = "/accounts/2fa/"
AGAIN = "/accounts/reauthenticate/"


class App:
    """What a phone shows. Each code is good once, so each asked for is a later one."""

    def __init__(self, secret):
        self.secret = secret
        self.last = int(time.time() // 30) - 2

    def code(self):
        self.last += 1
        return auth.format_hotp_value(auth.hotp_value(self.secret, self.last))


def show_password(client, password, next=FACTORS):
    """Enter the password again, as for any page that asks who one is."""
    return client.post(f"{AGAIN}?next={next}", {"password": password})


def set_up_app(client):
    """Set one up by the pages: the App, and the page with the recovery codes."""
    page = client.get(f"{FACTORS}totp/activate/").content.decode()
    app = App(re.search(r'class="key">(\w+)<', page)[1])
    answer = client.post(f"{FACTORS}totp/activate/", {"code": app.code()}, follow=True)
    return app, answer.content.decode()


def codes_on(page):
    return re.findall(r"<li>(\d{8})</li>", page)
