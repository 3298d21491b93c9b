"""Frames that nobody's page would send: valid, nearly valid, and nothing of the kind.

All from one `random.Random`, so that a seed is a run.
"""

import json

from messaging.rendering.languages import LANGUAGES

ASTRAL, FAMILY = "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 💥", "👩\u200d👩\u200d👧\u200d👦"
WORDS = ["so", "the cat", "sat on", "our mat", "and said", "good", "morning"]
TEXTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "[x](javascript:alert(1)) [y](data:text/html,<b>) ![z](http://evil.example/)",
    "\u202egnp.exe\u202c \u2066\u2067\u2068\u2069 \u200e\u200f",
    "\u200b\u200c\u200d\ufeff\u2060 zero width",
    "\ufeff{}",
    "Z\u0351\u0300" + "\u0300" * 200,
    ASTRAL * 20,
    FAMILY * 50,
    "cafe\u0301 and café, аdmin and admin",
    "one\r\ntwo\rthree\n\n\nfour\u2028five\u2029six\x0b\x0c\x1c\x85",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x7f\x80\x9b",
    "=cmd|' /C calc'!A1 @SUM(1) +1 -1",
    "{{ 7*7 }} {% debug %} ${7*7} #{7*7} %s %(x)s {0} %n",
    "'; DROP TABLE rooms_event; -- \" ` \\ \\\\ $$ $1 ?",
    "@everyone " + "@alice " * 100,
    "http://[::1 https://a..b//\\ mailto:@ http://" + "a." * 300,
    "\ud83d not alone",
    "| a | b |\n|---|---|\n" + "| x | y |\n" * 40,
    "```python\n" + "def f(): return '''\n" * 40,
    "```" + "brainfuck\n" + "+-<>[],." * 60,
    "~~a ~~b~~ **c *d** e* __f _g__ h_ `i ``j` k``",
    "\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f",
    "\ufffe\uffff\U0010ffff\ue000",
    "undefined null NaN true 0 1e999 0x10 -0",
]
# What is dear to render, each made to a length.
BOMBS = [
    "[", "![", "](", "*", "_", "**a ", "`", "``` ", "> ", ">", "- ", "* a\n", "~~",
    "a**b", "*a_", "[a](", "[a][", "<", "<a ", "&", "&#x", "\\", "|", "|-", "#", "\n",
    "\u0300", "http://a", "https://[", "a@", "www.", "(((", ":::", "1. ", "\t", "- - ",
    "[](<", "](<\n", "*_*", "_*__**", "x\n===\n", "~~~\n", "\u00a0", "😀", "\u202e",
]  # fmt: skip
FENCES = [*LANGUAGES, "js", "c++", "perl", "rst", "md", "lisp", "mcschema", "maple"]
# Pieces of Markdown and of code, which a climb puts together.
MARKDOWN = [
    "a", " ", "*", "_", "~", "`", "[", "]", "(", ")", "<", ">", "&", "|", "#", "-", "+",
    "!", "'", '"', "\\", ".", ":", "@", "/", "\n", "\t", "\xa0", "é", "😀", "**", "__",
    "~~", "``", "[a]", "[a](b)", "[a][b]", "<a>", "://", "&amp;", "&#1", "a|", "![",
    "a_", "_a", "*a", "a*", "\n\n", "[a]: b\n", "http://a ", "mailto:a@b ", "|-|\n",
    "a|b\n-|-\n", "---\n", "===\n", "# ", "> ", "- ", "+ ", "* ", "1. ", "  ", "    ",
    "```\n", "~~~\n",
]  # fmt: skip
CODE = [
    "a", "A", "1", "_", ".", ",", ";", ":", "=", "+", "-", "*", "/", "#", "%", "&", "|",
    "!", "?", "@", "$", "(", ")", "{", "}", "[", "]", "<", ">", '"', "'", "`", "\\",
    "~", "^", " ", "\n", "\t", "\r", "é", "😀", "::", "==", "//", "/*", "*/", "##",
    "$$", "${", "#{", "%{", "{{", "}}", "[[", "</", "<a", "<!--", "-->", "<?", "<<",
    "<<<", "->", "<script>", '\\"', "\\\\", "\\u", "0x", "1e", "1.", "a.", "a(", "a:",
    "a=", "=a", "@a", "r\\'", 'f"', 'R"(', "q{", "&a;", "a::", "a<", '"""', "a ", "a\n",
    " \n", "\n\t", "#a\n", "|\n", "- ", "<<a\n", "<<'a'\n", "'''", "if ", "def ",
    "class ", "function ", "select ", "<style>",
]  # fmt: skip
COMMANDS = [
    "help", "me", "topic", "kick", "kill", "clear", "HELP", "Me", "", " ", "/", "dance",
    "__class__", "__init__", "\u0130", "help\0", "tOpIc\t", "kick\n", "nick",
    "me\u200b",
]  # fmt: skip
TYPES = [
    "post", "Post", "POST", "post ", "show", "", "edit", "delete", "read", "typing",
    "welcome", "events", "ack", "error", "receive", "websocket.receive", "connect",
    "disconnect",
    "http.request", "__proto__", "constructor", "__init__", "__class__", "dispatch",
    "deliver", "shut", "_sign_in", "\0", "😀", "x" * 300,
]  # fmt: skip
FIELDS = [
    "__proto__", "constructor", "prototype", "reply_to", "user", "room", "seq", "html",
    "", "\0", "Body", "KEY", "type ", "me", "id", "😀", "%s", "a" * 200,
]  # fmt: skip
VALUES = [
    "null", "true", "false", "0", "-0", "-1", "1", "1.0", "-1e-9", "1e999", "-1e999",
    "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "1" * 400, "0.1e-400", "01", "0x1", "[]", "{}", '[""]',
    '{"$ne":1}', '{"__proto__":{}}', '""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"',
    '"\\u202e"', '"\\/"', '"\\x41"', "'a'", "undefined", '"a', "[1,]", "\ufeff1",
    '"' + "k" * 65 + '"', '"ключ"', '" "', '"a b"', '"' + "é" * 40 + '"',
]  # fmt: skip
NO_OBJECTS = [
    "", " ", "[]", "{}", '"post"', "null", "0", "true", "{", "}", "[[", '{"type"}',
    "\0", "{} {}", "\ufeff{}", '{"type":"post"', "NaN", "// x", "<xml/>", "\u2028{}",
    '{"":}',
]  # fmt: skip
STILL_OUT = 32  # frames of a socket that may wait for their answers, at most
SLUGS = ["room0", "room1", "ROOM0", "", "\0", "😀", "x" * 255, "x" * 256, "%", "{}"]
KEYS = ["a", "~" * 64, '"\\', "../../etc", "%00", "<b>", "null", "0", "'--", "{}"]


class Grammar:
    """The frames of one socket. `name` keeps its fresh keys apart from all others'."""

    def __init__(self, dice, name, people=()):
        self.dice = dice
        self._name = name
        self._count = 0
        self._people = [*people, "nobody", "@", "\u202e", "root", "'", "%"]
        self._kinds, self._weights = zip(*self.KINDS.items(), strict=True)

    def frame(self):
        """(payload, is_text) of the next frame; a text payload is valid UTF-8."""
        kind = self.dice.choices(self._kinds, self._weights)[0]
        payload = kind(self)
        if isinstance(payload, bytes):
            return payload, False
        return payload.encode(errors="replace"), True

    # Posts ----------------------------------------------------------------------------

    def post(self, body=None, key=None):
        """A post that is as it should be."""
        body = self.words() if body is None else body
        return self.json({"type": "post", "key": key or self.key(), "body": body})

    def said(self):
        return self.post(self.text())

    def bomb(self):
        piece = self.dice.choice(BOMBS) + self.dice.choice(["", "", "a", "\n", " "])
        size = min(8_000, int(10 ** self.dice.uniform(1, 4)))
        body = (piece * size)[:size]
        if self.dice.random() < 0.2:
            body = f"```{self.dice.choice(FENCES)}\n{body}"[:8_000]
        return self.post(body)

    def markdown(self):
        """A few pieces of Markdown, or of code in some language, again and again."""
        language = self.dice.choice(["", *FENCES])
        pieces = self.dice.choices(CODE if language else MARKDOWN, k=3)
        size = int(10 ** self.dice.uniform(1, 3.9))
        text = ("".join(pieces) * size)[:size]
        return self.post(f"```{language}\n{text}\n```"[:8_000] if language else text)

    def command(self):
        name, rest = self.dice.choice(COMMANDS), self.text()
        if name in ("kick", "kill") and self.dice.random() < 0.9:
            rest = f"{self.dice.choice(self._people)} {rest}"
        space = self.dice.choice(["", " ", " ", " ", "\n", "\u00a0", "  "])
        return self.post(f"/{name}{space}{rest}"[:8_000])

    def used_key(self):
        answered = self._count - STILL_OUT
        if answered > 0 and self.dice.random() < 0.7:
            key = f"{self._name}-{self.dice.randint(1, answered)}"
        else:
            key = self.dice.choice(KEYS)
        return self.post(key=key, body=self.dice.choice(["once", "twice", "/help"]))

    def long(self):
        size = self.dice.choice([7_999, 8_000, 8_001, 9_000, 16_000, 21_000, 40_000])
        body = self.dice.choice(["a", "й", "😀", " ", "\0"]) * size
        return self.post(body)[:200_000]  # below what the server reads at all

    def show(self):
        """Rooms that a page shows, or what no page can show."""
        slugs = self.dice.choices(SLUGS, k=self.dice.choice([0, 1, 1, 3, 100, 101]))
        rooms = self.dice.choice([json.dumps(slugs), self.dice.choice(VALUES)])
        return self.object({"type": '"show"', "rooms": rooms})

    # Nearly posts ---------------------------------------------------------------------

    def confused(self):
        """A field has a value of the wrong kind, is missing, or there twice."""
        fields = self.fields()
        name = self.dice.choice(list(fields))
        match self.dice.randrange(4):
            case 0:
                fields[name] = self.dice.choice(VALUES)
            case 1:
                del fields[name]
            case 2:
                fields[name + " "] = self.dice.choice(VALUES)
                return self.object(fields).replace(f'{name} "', f'{name}"')
            case 3:
                fields[name] = self.nested()
        return self.object(fields)

    def unknown_type(self):
        return self.object(
            {**self.fields(), "type": json.dumps(self.dice.choice(TYPES))}
        )

    def unknown_field(self):
        names = self.dice.choices(FIELDS, k=self.dice.randint(1, 4))
        extra = {name: self.dice.choice(VALUES) for name in names}
        return self.object({**self.fields(), **extra})

    def fields(self):
        """The fields of a good post, as JSON: {name: text}."""
        body = json.dumps(self.words())
        return {"type": '"post"', "key": json.dumps(self.key()), "body": body}

    def object(self, fields):
        pairs = [f"{json.dumps(name)}:{value}" for name, value in fields.items()]
        self.dice.shuffle(pairs)
        return "{" + ",".join(pairs) + "}"

    def nested(self):
        depth = int(10 ** self.dice.uniform(1, 4.4))
        opening, closing = self.dice.choice([("[", "]"), ('{"a":', "}")])
        inner = opening * depth + "1" + closing * depth
        return inner[: 60_000 if self.dice.random() < 0.8 else depth]

    # Nothing of the kind --------------------------------------------------------------

    def no_object(self):
        return self.dice.choice(NO_OBJECTS)

    def no_text(self):
        return self.post().encode() if self.dice.random() < 0.5 else self.noise(200)

    def broken(self):
        """A frame with some of its bytes gone, doubled, or others."""
        seed = self.dice.choice(
            [self.post, self.said, self.confused, self.command, self.unknown_field]
        )
        return self.damaged(seed().encode(errors="replace")).decode(errors="replace")

    def damaged(self, data):
        data = bytearray(data)
        for _nth in range(self.dice.randint(1, 6)):
            at = self.dice.randrange(len(data) + 1)
            match self.dice.randrange(5):
                case 0:
                    data[at : at + 1] = bytes([self.dice.randrange(256)])
                case 1:
                    del data[at : at + self.dice.randint(1, 8)]
                case 2:
                    data[at:at] = data[at : at + self.dice.randint(1, 30)]
                case 3:
                    data[at:at] = self.dice.choice(VALUES).encode()
                case 4 if at < len(data):
                    data[at] ^= 1 << self.dice.randrange(8)
        return bytes(data)

    def noise(self, size):
        return self.dice.randbytes(self.dice.randrange(size))

    # Parts ----------------------------------------------------------------------------

    def key(self):
        self._count += 1
        return f"{self._name}-{self._count}"

    def words(self):
        return " ".join(self.dice.choices(WORDS, k=self.dice.randint(1, 12)))

    def text(self):
        texts = self.dice.choices(TEXTS, k=self.dice.choice([1, 1, 1, 2, 5]))
        return self.dice.choice(["", " ", "\n", "\n\n> ", "**"]).join(texts)

    def json(self, frame):
        """As JSON, in one of its spellings."""
        ascii_only = self.dice.random() < 0.3
        text = json.dumps(frame, ensure_ascii=ascii_only)
        return f" \n{text}\t\r" if self.dice.random() < 0.05 else text

    KINDS = {
        post: 34,
        said: 8,
        bomb: 1,
        markdown: 2,
        command: 6,
        used_key: 4,
        long: 0.3,
        show: 3,
        confused: 16,
        unknown_type: 6,
        unknown_field: 6,
        no_object: 4,
        no_text: 3,
        broken: 12,
    }
