"""What we use of Daphne's, autobahn's and Twisted's insides, which they promise nobody.

All of it is looked at when the server starts: a release that has changed one of them
stops the start, not a room in the middle of a talk.
"""

import inspect
from collections.abc import Iterator

from autobahn.websocket.protocol import WebSocketProtocol as AutobahnProtocol
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from django.core.exceptions import ImproperlyConfigured
from twisted.internet.abstract import FileDescriptor
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.tcp import Connection
from twisted.web.http import HTTPChannel

# {class: {method: its arguments}}, those that ours override or call.
METHODS: dict[type, dict[str, str]] = {
    Server: {
        "kill_all_applications": "self",
        "create_application": "self, protocol, scope",
        "run": "self",
    },
    WebSocketProtocol: {
        "serverClose": "self, code",
        "onMessage": "self, payload, isBinary",
        "connectionMade": "self",
    },
    AutobahnProtocol: {
        "sendCloseFrame": "self, code, reasonUtf8, isReply",
        "sendClose": "self, code, reason",
        "onFrameBegin": "self",
    },
    WebRequest: {"handleContentChunk": "self, data"},
    HTTPFactory: {"buildProtocol": "self, addr"},
    HTTPChannel: {
        "dataReceived": "self, data",
        "resetTimeout": "self",
        "allHeadersReceived": "self",
        "rawDataReceived": "self, data",
        "allContentReceived": "self",
        "requestDone": "self, request",
    },
    Connection: {"writeSomeData": "self, data"},
    AsyncioSelectorReactor: {"_readOrWrite": "self, selectable, read"},
}
# {class: attributes}, those that ours read or set.
ATTRIBUTES: dict[type, tuple[str, ...]] = {
    Server: ("connections", "endpoints", "ws_factory", "ready_callable"),
    WebSocketProtocol: ("application_queue",),
    AutobahnProtocol: ("state", "STATE_OPEN", "current_frame"),
    WebRequest: ("_parsePOSTFormSubmission",),
    HTTPChannel: ("length", "maxHeaders", "requestFactory", "_handlingRequest"),
    FileDescriptor: ("dataBuffer", "offset", "_tempDataLen", "connected"),
    Connection: ("bufferSize",),
    AsyncioSelectorReactor: ("_readers",),
}


def check() -> None:
    """Raises ImproperlyConfigured where an inside does not look as we use it."""
    if changed := list(differences()):
        raise ImproperlyConfigured(
            f"Daphne, autobahn or Twisted has changed inside ({', '.join(changed)}): "
            "install the releases that requirements/base.lock names."
        )


def differences() -> Iterator[str]:
    """The names of what is gone, or takes other arguments."""
    for owner, methods in METHODS.items():
        for name, arguments in methods.items():
            if arguments_of(owner, name) != arguments:
                yield f"{owner.__name__}.{name}"
    for owner, attributes in ATTRIBUTES.items():
        for name in attributes:
            if not has_attribute(owner, name):
                yield f"{owner.__name__}.{name}"


def arguments_of(owner: type, method: str) -> str | None:
    function = getattr(owner, method, None)
    return function and ", ".join(inspect.signature(function).parameters)


def has_attribute(owner: type, name: str) -> bool:
    """On the class, or spoken of in the code of its methods."""
    return hasattr(owner, name) or any(
        name in function.__code__.co_names
        for one in owner.__mro__
        for function in vars(one).values()
        if inspect.isfunction(function)
    )
