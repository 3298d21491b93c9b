"""Texts that are slow to render, and servers whose workers are slower than ours."""

import sys

from tests.support import instrumented_server
from tests.support.instrumented_server import InstrumentedServer


def fenced(language, code):
    return f"```{language}\n{code}\n```"


def table(columns, rows):
    line = "|".join(["a"] * columns)
    return "\n".join([line, "|".join(["-"] * columns), *["b"] * rows])


# These held a whole server, for seconds or for ever, when it rendered them itself.
SLOW = {
    "mcschema": fenced("mcschema", "<!--"),
    "maple": fenced("maple", '"' + r"\a" * 25),
    "easytrieve": fenced("easytrieve", "\t" * 1_990),
    "autohotkey": fenced("autohotkey", "\n\t" * 995),
    "xpp": fenced("xpp", "aa\n" * 660),
    "autoit": fenced("autoit", " \n" * 995),
    "fan": fenced("fan", "a_" * 995),
    "60 columns": table(60, 3_800),
    "200 columns": "\n\n".join([table(200, 590)] * 4),
    "brackets": "[" * 8_000,
}
# What takes longest today, the longest first, as the fuzzer's climb found it; and three
# of those above.
SLOWEST = {
    "emphasis in links": "[*" * 4_000,
    **{name: SLOW[name] for name in ("brackets", "60 columns", "200 columns")},
    "python": fenced("python", "a(" + " \n" * 997),
    "java": fenced("java", "1." + "\n" * 992 + "!\\ua"),
    "csharp": fenced("csharp", "a\n" * 249),
    "css": fenced("css", "a " + "\\'" * 998),
    "javascript": fenced("javascript", "&0x>" + "\\\"r\\'" * 399),
    "go": fenced("go", 'R"(' + '\\"' * 997),
}
ENDLESS = SLOW["mcschema"]  # where a worker knows the language


class UnboundedServer(InstrumentedServer):
    """A server whose workers colour all of Pygments' languages, and which waits for
    them for longer: the machine of a test may be busy."""

    def __init__(self, folder, **environment):
        super().__init__(folder, **environment)
        self.command[2:4] = ["-m", "tests.support.slow_texts"]


def use_boundless_workers():
    from messaging.rendering import pool

    pool.COMMAND = (sys.executable, "-m", "tests.support.slow_texts", "worker")
    pool.WAIT_WITHIN = pool.DEADLINE = 2.0
    pool.STUCK_AFTER = 20.0


def be_worker():
    from pygments.lexers import find_lexer_class_by_name

    from messaging.rendering import markdown, worker

    markdown.weight_of = bool
    markdown.lexer_of = lambda language: find_lexer_class_by_name(language)()
    worker.main()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        be_worker()
    else:
        instrumented_server.main(use_boundless_workers)
