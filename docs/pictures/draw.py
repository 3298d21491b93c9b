"""Draw the pictures of HOW_IT_WORKS.md from the real modules.

    python docs/pictures/draw.py           write house.svg and post.svg
    python docs/pictures/draw.py --check   fail if they are not what it would write

A picture cannot name a module or a function that is not there: drawing it fails then.
"""

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent

# The house: its storeys from the roof down, each with its rooms. Imports go down only.
STOREYS = [
    ["config", "config/server", "config/embedded", "config/backup"],
    ["messaging", "messaging/live", "messaging/writing", "messaging/rendering"],
    ["rooms", "rooms/models"],
    ["accounts"],
]
# A post's way: who does it (a module and a name in it), and what happens there.
WAY = [
    (
        "static/js/composer/outbox.js",
        "class Outbox",
        "keeps the post until it is acked",
    ),
    ("messaging/consumers.py", "RoomConsumer.take", "reads the frame; never waits"),
    ("messaging/rendering/pool.py", "Pool.to_html", "makes its HTML, with a deadline"),
    (
        "messaging/writing/queue.py",
        "Writer.take",
        "queues it; a batch grows with the load",
    ),
    (
        "messaging/writing/requests.py",
        "PostMessage.store",
        "locks, checks rights, numbers",
    ),
    ("rooms/models/log.py", "Log.flush", "stores the events; COMMIT makes them true"),
    ("messaging/live/announce.py", "_grown", "tells the hub, once committed"),
    ("messaging/live/relay.py", "Relay.publish", "hints to other processes, by Redis"),
    ("messaging/live/feed.py", "Feed.take", "takes it in order; reads what is missing"),
    (
        "messaging/live/fanout.py",
        "write_to_all",
        "one frame, made once, to every socket",
    ),
    ("static/js/room/stream.js", "class Stream", "applies it by its number, once"),
]

STYLE = """
  :root { color-scheme: light dark }
  text { font: 14px ui-sans-serif, system-ui, sans-serif; fill: light-dark(#222, #ddd) }
  .name { font-weight: 600 }
  .small { font-size: 12px; fill: light-dark(#555, #aaa) }
  .code { font: 12px ui-monospace, monospace }
  .storey { fill: light-dark(#f3f4f6, #1c1f24) }
  .room { fill: light-dark(#fff, #2a2e35); stroke: light-dark(#c8ccd2, #4a505a) }
  .arrow { stroke: light-dark(#6b7280, #9aa1ac); stroke-width: 1.5; fill: none }
"""


def main(words):
    drawn = {"house.svg": house(), "post.svg": post()}
    stale = [name for name, text in drawn.items() if read(HERE / name) != text]
    if "--check" in words:
        sys.exit(f"stale: {', '.join(stale)}" if stale else 0)
    for name in stale:
        (HERE / name).write_text(drawn[name])


def read(path):
    return path.read_text() if path.exists() else ""


# The house ----------------------------------------------------------------------------

WIDTH, ROW, PAD = 1000, 16, 14


def house():
    check_imports()
    parts, top = [], PAD
    for storey in STOREYS:
        height = storey_height(storey)
        parts.append(box("storey", PAD / 2, top - 7, WIDTH - PAD, height + 14, 12))
        width = (WIDTH - PAD * (len(storey) + 1)) / len(storey)
        for nth, folder in enumerate(storey):
            left = PAD + nth * (width + PAD)
            parts.append(one_room(folder, left, top, width, height))
        top += height
        if storey is not STOREYS[-1]:
            parts.append(arrow(WIDTH / 2, top + 8, top + 34))
            parts.append(label(WIDTH / 2 + 12, top + 26, "imports", "small"))
            top += 42
    return svg(WIDTH, top + PAD, "The house: what lives where", parts)


def one_room(folder, left, top, width, height):
    """A folder as a box with the names of its modules in columns."""
    columns = columns_of(folder)
    parts = [box("room", left, top, width, height, 8)]
    parts.append(label(left + 12, top + 22, f"{folder}/", "name"))
    for nth, name in enumerate(modules(folder)):
        column, row = nth % columns, nth // columns
        x = left + 12 + column * (width - 16) / columns
        parts.append(label(x, top + 44 + row * ROW, name, "code"))
    return "".join(parts)


def storey_height(storey):
    rows = [-(-len(modules(folder)) // columns_of(folder)) for folder in storey]
    return 44 + ROW * max(rows)


def columns_of(folder):
    (storey,) = (storey for storey in STOREYS if folder in storey)
    return {1: 5, 2: 3}.get(len(storey), 1)


def modules(folder):
    paths = sorted((ROOT / folder).glob("*.py"))
    if not paths:
        raise FileNotFoundError(folder)
    return [path.stem for path in paths if path.stem not in ("__init__", "apps")]


def check_imports():
    """Imports go down the house, but those that plug the parts together (config)."""
    order = {folder.split("/")[0]: n for n, row in enumerate(STOREYS) for folder in row}
    for app in ("messaging", "rooms", "accounts"):
        for path in (ROOT / app).rglob("*.py"):
            for other in imported_apps(path):
                if other != "config" and order.get(other, 9) < order[app]:
                    raise ImportError(f"{path.relative_to(ROOT)} imports {other}")


def imported_apps(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        )
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name.split(".")[0] for name in names)


# A post's way -------------------------------------------------------------------------

STEP = 46


def post():
    parts = []
    for nth, (file, name, what) in enumerate(WAY):
        check_name(file, name)
        top = PAD + nth * STEP
        parts.append(box("room", PAD, top, WIDTH - 2 * PAD, STEP - 14, 8))
        parts.append(label(PAD + 12, top + 21, f"{nth + 1}", "name"))
        parts.append(label(PAD + 40, top + 21, file, "code"))
        parts.append(label(PAD + 300, top + 21, name.removeprefix("class "), "name"))
        parts.append(label(PAD + 520, top + 21, what, ""))
        if nth + 1 < len(WAY):
            parts.append(arrow(PAD + 16, top + STEP - 14, top + STEP - 1))
    return svg(WIDTH, PAD + len(WAY) * STEP, "A post's way", parts)


def check_name(file, name):
    text = (ROOT / file).read_text()
    if file.endswith(".js"):
        found = f"{name} " in text
    else:
        found = name in set(defined(ast.parse(text)))
    if not found:
        raise NameError(f"{file} has no {name}")


def defined(tree, prefix=""):
    """The names of the functions and classes, as `Class.method`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from defined(node, f"{node.name}.")


# SVG ----------------------------------------------------------------------------------


def svg(width, height, title, parts):
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path class="arrow" d="M1 1 7 4 1 7"/>'
        f"</marker></defs>\n{body}\n</svg>\n"
    )


def box(kind, x, y, width, height, radius):
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}"'
        f' height="{height:g}" rx="{radius}"/>\n'
    )


def label(x, y, text, kind):
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>\n'


def arrow(x, start, end):
    return (
        f'<path class="arrow" marker-end="url(#tip)" d="M{x:g} {start:g}V{end:g}"/>\n'
    )


if __name__ == "__main__":
    main(sys.argv[1:])
