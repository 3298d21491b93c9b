"""Frames that are no WebSocket any more, or only just. A script is what is written to a
fresh socket, bit by bit, and how that must end."""

import struct
from dataclasses import dataclass

from tests.lab.fuzz.grammar import Grammar
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    frame,
)

KIB = 1024
MAX_MESSAGE = 256 * KIB
LIVES, DIES, EITHER = "lives", "dies", "either"
MASK = b"\x5a\x00\xff\x13"
NO_UTF8 = [
    b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x80", b"\xe2\x82",
    b"\xf0\x9f\x98",
]  # fmt: skip
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535]
GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4401, 4999]


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    chunks: list[bytes]
    end: str  # LIVES: a post is still answered. DIES: the server closes.

    def __str__(self):
        return f"{self.name} {[chunk[:200] for chunk in self.chunks[:20]]}"

    @property
    def frames(self):
        return len(self.chunks)


class Scripts:
    """The scripts of one run, from a `random.Random`."""

    def __init__(self, dice, name):
        self.dice = dice
        self._grammar = Grammar(dice, name)

    def script(self):
        make = self.dice.choice(self.ALL)
        return make(self)

    def damaged(self):
        good = [frame(self._grammar.frame()[0], mask=MASK) for _nth in range(4)]
        return Script("damaged", [self._grammar.damaged(b"".join(good))], EITHER)

    def noise(self):
        return Script("noise", [self.dice.randbytes(self.dice.randint(1, 999))], EITHER)

    def cut_off(self):
        whole = frame(self._grammar.post().encode())
        return Script("cut off", [whole[: self.dice.randrange(len(whole))]], EITHER)

    def http(self):
        return Script("HTTP", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], EITHER)

    # Fragments ------------------------------------------------------------------------

    def fragments(self):
        """A post in pieces, with pings between them."""
        body = "ключ 😀 " * self.dice.randint(1, 50)
        pieces = self.pieces(self._grammar.post(body).encode())
        between = [frame(b"?", PING), frame(b"", PONG), b""]
        chunks = [self.dice.choice(between) + piece for piece in pieces]
        return Script("fragments", chunks, LIVES)

    def pieces(self, payload, size=None):
        size = size or self.dice.choice([1, 2, 3, 7, 100])
        parts = [payload[at : at + size] for at in range(0, len(payload), size)]
        last = len(parts) - 1
        return [
            frame(part, CONTINUED if nth else TEXT, fin=0x80 if nth == last else 0)
            for nth, part in enumerate(parts)
        ]

    def many_fragments(self):
        payload = self._grammar.post("a" * 5_000).encode()
        return Script("many fragments", [b"".join(self.pieces(payload, 1))], LIVES)

    def endless(self):
        """Fragments without an end, to above the limit of a message."""
        part = b"a" * 8 * KIB
        rest = [frame(part, CONTINUED, fin=0)] * (MAX_MESSAGE // len(part))
        return Script("endless", [frame(part, fin=0), *rest], DIES)

    def lone_end(self):
        return Script("continues nothing", [frame(b"{}", CONTINUED)], DIES)

    def two_at_once(self):
        return Script("two messages", [frame(b"{", fin=0), frame(b"{}")], DIES)

    # Control frames -------------------------------------------------------------------

    def pings(self):
        count = self.dice.choice([1, 10, 2_000])
        payload = self._grammar.noise(126)
        return Script("pings", [frame(payload, PING) * count], LIVES)

    def pongs(self):
        payload = self._grammar.noise(126)
        return Script("pongs", [frame(payload, PONG)] * 3, LIVES)

    def long_control(self):
        opcode = self.dice.choice([PING, PONG, CLOSE])
        return Script("long control", [frame(b"a" * 126, opcode)], DIES)

    def control_in_pieces(self):
        opcode = self.dice.choice([PING, PONG, CLOSE])
        return Script("control in pieces", [frame(b"a", opcode, fin=0)], DIES)

    def bad_close(self):
        code = struct.pack("!H", self.dice.choice(BAD_CODES))
        payload = self.dice.choice([b"\x03", code, code + b"why"])
        return Script("bad close", [frame(payload, CLOSE)], DIES)

    def bad_reason(self):
        payload = b"\x03\xe8" + self.dice.choice(NO_UTF8)
        return Script("bad reason", [frame(payload, CLOSE)], DIES)

    def close(self):
        code = struct.pack("!H", self.dice.choice(GOOD_CODES))
        reason = self.dice.choice([b"", b"a" * 123, "ключ".encode()])
        payload = self.dice.choice([b"", code, code + reason])
        after = self.dice.choice([b"", frame(self._grammar.post().encode()), b"\xff"])
        return Script("close", [frame(payload, CLOSE) + after], DIES)

    # Headers --------------------------------------------------------------------------

    def reserved(self):
        bits = self.dice.randint(1, 7)
        return Script("reserved bits", [frame(b"{}", reserved=bits)], DIES)

    def opcode(self):
        unknown = self.dice.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
        return Script("unknown opcode", [frame(b"{}", unknown)], DIES)

    def unmasked(self):
        return Script("unmasked", [frame(b"{}", mask=None)], DIES)

    def lying_size(self):
        size = self.dice.choice([MAX_MESSAGE + 1, 1 << 30, 1 << 62, (1 << 64) - 1])
        return Script("lying size", [frame(b"{}", size=size)], DIES)

    def long_winded_size(self):
        head = struct.pack("!BBH", 0x81, 0x80 | 126, 2)
        longer = struct.pack("!BBQ", 0x81, 0x80 | 127, 2)
        rest = b"\0\0\0\0{}"
        return Script("size", [self.dice.choice([head, longer]) + rest], DIES)

    def negative_size(self):
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, 1 << 63)
        return Script("negative size", [head + b"\0\0\0\0{}"], DIES)

    # Payloads -------------------------------------------------------------------------

    def no_utf8(self):
        bad = b'{"type":"post' + self.dice.choice(NO_UTF8)
        if self.dice.random() < 0.5:
            return Script("no UTF-8", [frame(bad)], DIES)
        return Script("no UTF-8, in pieces", self.pieces(bad, 1), DIES)

    def edges(self):
        """Text and binary of the sizes where something changes."""
        size = self.dice.choice(
            [0, 1, 125, 126, 65_535, 65_536, 65_537, MAX_MESSAGE - 1, MAX_MESSAGE]
        )
        opcode = self.dice.choice([TEXT, BINARY])
        return Script(f"{size} bytes", [frame(b"a" * size, opcode)], LIVES)

    def packet(self):
        """Very many frames in one packet."""
        return Script("one packet", [frame(b"{}") * 500], LIVES)

    ALL = [
        damaged,
        damaged,
        damaged,
        noise,
        cut_off,
        http,
        fragments,
        many_fragments,
        endless,
        lone_end,
        two_at_once,
        pings,
        pongs,
        long_control,
        control_in_pieces,
        bad_close,
        bad_reason,
        close,
        reserved,
        opcode,
        unmasked,
        lying_size,
        long_winded_size,
        negative_size,
        no_utf8,
        edges,
        packet,
    ]
