"""Our use of the insides of Daphne, autobahn and Twisted, checked at the start."""

import pytest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from django.core.exceptions import ImproperlyConfigured

from config.server import daphne, insides


def test_the_releases_in_use_look_as_we_use_them():
    insides.check()


@pytest.mark.parametrize(
    ("owner", "name", "changed"),
    [
        (WebSocketProtocol, "onMessage", lambda self, payload: None),
        (Server, "create_application", None),
    ],
)
def test_a_method_that_is_gone_or_another_stops_the_start(
    monkeypatch, owner, name, changed
):
    monkeypatch.setattr(owner, name, changed)
    with pytest.raises(ImproperlyConfigured, match=f"{owner.__name__}.{name}.*install"):
        daphne.run(None, None, None)


def test_an_attribute_that_is_gone_stops_the_start(monkeypatch):
    monkeypatch.setitem(insides.ATTRIBUTES, Server, ("no_such_thing",))
    with pytest.raises(ImproperlyConfigured, match="Server.no_such_thing"):
        insides.check()
