"""What is installed is what was looked at: locks with hashes, images with digests, and
an audit that does not take silence for an answer."""

import json
import os
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import pin_images
from requirements import audit
from tests.support.servers import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))
PIN = re.compile(r"^\w.*==.*(?:\n    .*)*", re.M)  # with its hashes and its reasons
DIRECT = re.compile(r"-r requirements/\w+\.txt")  # as a reason
PYTHONS = ("3.11.9", "3.12.9", "3.13.9")
MACHINES = [
    {"python_version": full[:4], "python_full_version": full, "sys_platform": platform}
    for full in PYTHONS
    for platform in ("linux", "darwin")
]


def lines_of(file):
    """Its lines without comments, and those of the files that it includes."""
    for line in file.read_text().splitlines():
        words = line.split("#")[0].strip()
        if words.startswith("-r "):
            yield from lines_of(file.parent / words.removeprefix("-r "))
        elif words:
            yield words


def asked_for(name):
    """The requirements of a .txt, with those of the files that it includes."""
    return [Requirement(line) for line in lines_of(REQUIREMENTS / f"{name}.txt")]


def pin_in(text):
    """A pin without its hashes and reasons."""
    return Requirement(text.partition(" \\")[0])


def locked(text, machine):
    """{name: pin} of what a lock's text installs there."""
    pins = [pin_in(found) for found in PIN.findall(text)]
    return {
        canonicalize_name(pin.name): pin
        for pin in pins
        if not pin.marker or pin.marker.evaluate(machine)
    }


def lacking(wanted, text):
    """What of the requirements a lock's text does not hold on some machine."""
    for machine in MACHINES:
        pins = locked(text, machine)
        for one in wanted:
            pin = pins.get(canonicalize_name(one.name))
            is_wanted = not one.marker or one.marker.evaluate(machine)
            if is_wanted and not (pin and is_met(one, pin)):
                yield f"{one} is locked as {pin}"


def is_met(requirement, pin):
    version = next(iter(pin.specifier)).version
    return requirement.specifier.contains(version) and requirement.extras <= pin.extras


def left_over(wanted, text):
    """What a lock's text holds only for a requirement that is no more."""
    names = {canonicalize_name(one.name) for one in wanted}
    direct = [pin for pin in PIN.findall(text) if DIRECT.search(pin)]
    return {canonicalize_name(pin_in(pin).name) for pin in direct} - names


def test_every_file_of_requirements_has_a_lock():
    names = {file.stem for file in REQUIREMENTS.glob("*.txt")}
    assert {"base", "embedded", "dev", "bench", "audit"} <= names
    assert {lock.stem for lock in LOCKS} == names


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_what_its_requirements_ask_for(lock):
    """If not: `make lock`."""
    wanted, text = asked_for(lock.stem), lock.read_text()
    assert set(lacking(wanted, text)) == set()
    assert left_over(wanted, text) == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_hashes_and_no_addresses(lock):
    text = lock.read_text()
    assert all("--hash=sha256:" in pin for pin in PIN.findall(text))
    assert len(PIN.findall(text)) == len(re.findall(r"^[^\s#]", text, re.M))
    assert not re.search(r"://|--(?:extra-)?index|--find-links", text)


def test_all_locks_name_the_same_versions():
    """They share one .venv."""
    for machine in MACHINES:
        versions = {}
        for lock in LOCKS:
            for name, pin in locked(lock.read_text(), machine).items():
                version = str(pin.specifier)
                assert versions.setdefault(name, version) == version, name
        assert len(versions) > 100


LOCK = """
django[argon2, bcrypt]==5.2.19 \\
    --hash=sha256:00
    # via -r requirements/base.txt
old==1.5 ; python_full_version < '3.13' \\
    --hash=sha256:00
    # via django
"""


@pytest.mark.parametrize(
    ("requirement", "fault"),
    [
        ("Django>=5.2,<5.3", set()),
        ("old>=1; python_version < '3.13'", set()),
        ("django[argon2]", set()),
        ("django[other]", {"django[other] is locked as django[argon2,bcrypt]==5.2.19"}),
        ("django>=5.3", {"django>=5.3 is locked as django[argon2,bcrypt]==5.2.19"}),
        ("django-csp", {"django-csp is locked as None"}),
        ("old>=1", {"old>=1 is locked as None"}),
    ],
)
def test_what_a_lock_lacks_is_seen(requirement, fault):
    assert set(lacking([Requirement(requirement)], LOCK)) == fault


def test_what_nobody_asks_for_any_more_is_seen():
    assert left_over([Requirement("django")], LOCK) == set()
    assert left_over([Requirement("old")], LOCK) == {"django"}


def test_all_that_installs_does_so_by_locks():
    files = ("Makefile", "deploy/install.sh", "deploy/Dockerfile")
    for text in [(ROOT / name).read_text() for name in files]:
        installs = re.findall(r"pip\"? install(?:.*\\\n)*.*", text)
        assert len(installs) == 1
        assert "--require-hashes" in installs[0]
        assert re.search(r"\.lock\b", installs[0])


# Images ---------------------------------------------------------------------------

DOCKER = """#!/bin/sh
[ "$1 $2 $3 $6" = "buildx imagetools inspect {{json .Manifest}}" ] || exit 1
case $4 in *missing*) exit 1;; esac
printf '{"mediaType": "index", "digest": "sha256:%064d"}' "${#4}"
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A docker that knows digests: the length of an image's name."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture
def copies(tmp_path):
    """Copies of the files that name images."""
    made = [tmp_path / file.name for file in pin_images.FILES]
    for copy, file in zip(made, pin_images.FILES, strict=True):
        copy.write_text(file.read_text())
    return made


def test_every_image_that_is_pulled_is_pinned(docker, copies):
    pin_images.main(copies)
    dockerfile, compose = (copy.read_text() for copy in copies)
    assert len(re.findall(r"^FROM \S+@sha256:\w{64}", dockerfile, re.M)) == 2
    assert len(re.findall(r"image: \S+:\S+@sha256:\w{64}$", compose, re.M)) == 3
    assert "image: rollcall\n" in compose  # it is built here
    for copy, file in zip(copies, pin_images.FILES, strict=True):
        unpinned = re.sub(r"@sha256:\w+", "", file.read_text())
        assert re.sub(r"@sha256:\w+", "", copy.read_text()) == unpinned


def test_a_digest_is_replaced_by_the_one_of_today(docker, copies):
    pin_images.main(copies)
    once = [copy.read_text() for copy in copies]
    for copy in copies:
        copy.write_text(re.sub(r"@sha256:0", "@sha256:1", copy.read_text()))
    pin_images.main(copies)
    assert [copy.read_text() for copy in copies] == once


def test_without_an_answer_nothing_is_changed(docker, copies):
    copies[1].write_text("    image: missing:1\n")
    before = [copy.read_text() for copy in copies]
    with pytest.raises(SystemExit, match="Nothing was changed: docker named no digest"):
        pin_images.main(copies)
    assert [copy.read_text() for copy in copies] == before


# The audit ------------------------------------------------------------------------

FAULTY = {
    "name": "django",
    "version": "5.2.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["5.2.2", "6.0"], "aliases": []}],
}


def answer(*packages):
    """As pip-audit prints it."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_fault_is_told():
    sound = {"name": "nh3", "version": "0.3.8", "vulns": []}
    assert audit.known_faults(answer(sound, FAULTY)) == [
        "django 5.2.1: PYSEC-1, mended by 5.2.2 or 6.0"
    ]
    assert audit.known_faults(answer(sound)) == []


def test_silence_is_no_good_answer():
    skipped = {"name": "nh3", "skip_reason": "not found"}
    with pytest.raises(audit.Unanswered, match="no answer about 1 of 2 packages, nh3"):
        audit.known_faults(answer(FAULTY, skipped))
    with pytest.raises(audit.Unanswered, match="about anything(?s:.*)No route to host"):
        audit.known_faults("", "Traceback\nConnectionError: No route to host\n")
