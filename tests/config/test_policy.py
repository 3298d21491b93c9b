"""In a real browser the pages break no rule of our own policy."""

import pytest

PAGES = ["/", "/accounts/login/", "/accounts/signup/", "/nowhere/", "/admin/login/"]


@pytest.fixture
def complaints(browser, serve):
    """complaints(path): what a browser's console says at that page of a new server."""
    server = serve()

    def complaints(path):
        said = []
        with browser.new_page() as page:
            page.on("console", lambda line: said.append(line.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(server.url + path)
            page.wait_for_load_state("networkidle")
        return [line for line in said if "404 (Not Found)" not in line]

    return complaints


def test_pages_break_no_rule_of_the_policy(complaints):
    assert {path: complaints(path) for path in PAGES} == {path: [] for path in PAGES}
