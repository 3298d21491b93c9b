"""The log: one line for each event, and nothing of what people wrote."""

import logging
import sys

import pytest
from django.db import IntegrityError

from accounts.models import User
from config.log import OneLineFormatter


def line(message, *words, error=None):
    formatter = OneLineFormatter("{levelname} {name}: {message}", style="{")
    record = logging.LogRecord("x", logging.ERROR, "", 0, message, words, error)
    return formatter.format(record)


def test_what_strangers_send_cannot_forge_a_line():
    forged = "a\r\nERROR x: b\x1b[31m\u202e\u2028\0é"
    assert line("%s", forged) == (r"ERROR x: a\r\nERROR x: b\x1b[31m\u202e\u2028\x00é")


def test_an_error_is_told_in_one_line_with_its_place():
    try:
        int("x")
    except ValueError:
        told = line("Broke", error=sys.exc_info())
    assert told.startswith("ERROR x: Broke")
    assert "ValueError: invalid literal for int()" in told
    assert "test_log.py" in told
    assert "\n" not in told


def test_an_error_of_the_database_is_told_without_the_row(db):
    User.objects.create(username="Secret")
    with pytest.raises(IntegrityError) as raised:
        User.objects.create(username="Secret")
    assert "ecret" in str(raised.value)
    told = line("Broke", error=raised._excinfo)
    assert "duplicate key value violates unique constraint" in told
    assert "ecret" not in told
