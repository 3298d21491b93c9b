"""The way back to the former release, as deploy/README.md says it."""

import os
import re
import subprocess
import sys

import httpx
import pytest

from tests.deploy.conftest import settle
from tests.support.deployment import DEPLOY
from tests.support.servers import ROOT, own_environment

MODULE = re.compile(r'"(/static/js/room/connection\.[0-9a-f]{12}\.js)"')
LINK = re.compile(r'"(/static/[^"]+)"')


def lay_release(folder, edit=lambda text: text):
    """A release as deploy/install.sh lays it: no file tells when it was changed."""
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for path in tracked.rstrip("\0").split("\0"):
        if (ROOT / path).is_file() and not path.startswith("tests/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((ROOT / path).read_bytes())
    module = folder / "static" / "js" / "room" / "connection.js"
    module.write_text(edit(module.read_text()))
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    return folder


def prepare(site, release):
    """What `systemctl restart rollcall-prepare` does with this as the current one."""
    variables = site.environment | {"DATABASE_URL": site.postgres.owner_url}
    command = [sys.executable, "manage.py", "prepare"]
    subprocess.run(command, cwd=release, env=own_environment(**variables), check=True)


def module_of_a_page(site, key):
    """The text of a module as a page loads it, once its processes were restarted."""
    for daphne in site.daphnes:
        daphne.stop()
        daphne.start()
    with httpx.Client(base_url=site.url, cookies={"sessionid": key}) as ann:
        page = ann.get("/rooms/lobby/").text
        links = set(LINK.findall(page))
        assert len(links) > 20
        assert {ann.get(link).status_code for link in links} == {200}
        return ann.get(MODULE.search(page)[1]).text


@pytest.mark.timeout(240)
def test_pages_have_the_static_files_of_their_release_on_the_way_back(deploy, tmp_path):
    site = deploy(daphnes=1)
    key = settle(site)["ann"]
    former = lay_release(tmp_path / "former")
    newer = lay_release(
        tmp_path / "newer",
        lambda text: text.replace("AFTER_FLOOD = 10", "AFTER_FLOOD = 20"),
    )
    for release, wait in [(former, 10), (newer, 20), (former, 10)]:
        prepare(site, release)
        assert f"AFTER_FLOOD = {wait}" in module_of_a_page(site, key)


def test_the_readme_prepares_before_it_restarts():
    readme = (DEPLOY / "README.md").read_text()
    way_back = readme.partition("the way back is")[2].partition("One release back")[0]
    acts = re.findall(r"ln -sfn|restart rollcall-prepare|restart rollcall@", way_back)
    assert acts == ["ln -sfn", "restart rollcall-prepare", "restart rollcall@"]
