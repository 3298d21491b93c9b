"""Names that look the same though they are not: Unicode Technical Standard #39.

`confusable_homoglyphs` has the tables; they are loaded when the first name is chosen.
"""

import unicodedata
from functools import cache

# What one word may be written in, besides one script: UTS 39's “highly restrictive”.
WRITTEN_TOGETHER = [
    {"LATIN", "HAN", "HIRAGANA", "KATAKANA"},
    {"LATIN", "HAN", "BOPOMOFO"},
    {"LATIN", "HAN", "HANGUL"},
]
OF_NO_SCRIPT = {"COMMON", "INHERITED"}
UNSEEN_MARK = "\u200e"  # the tables put it around some right-to-left letters


def is_mixed(word):
    """Whether letters of several scripts stand in the word that do not belong together,
    as a Cyrillic а in a Latin word."""
    from confusable_homoglyphs.categories import unique_aliases

    scripts = unique_aliases(word) - OF_NO_SCRIPT
    return len(scripts) > 1 and not any(scripts <= some for some in WRITTEN_TOGETHER)


def skeleton(name):
    """The form that all names which look the same have in common.

    Case is folded between two rounds, because names that differ only by it are the same
    to us: `АРЕ` in Cyrillic looks like `APE`, which is the name `ape`.
    """
    return _shapes(_shapes(name).casefold())


def _shapes(text):
    shapes = _prototypes()
    text = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFD", "".join(shapes.get(c, c) for c in text))


@cache
def _prototypes():
    """{letter: what stands for all that look like it}.

    The library lists for each letter what it may be taken for: of a prototype its many
    doubles, of each double the prototype alone. Of two that have but each other, either
    can stand for both.
    """
    from confusable_homoglyphs.confusables import confusables_data

    prototypes = {}
    for letter, doubles in confusables_data.items():
        if len(letter) == len(doubles) == 1:
            other = doubles[0]["c"]
            is_pair = len(confusables_data[other]) == 1
            if not is_pair or len(other) > 1 or other < letter:
                prototypes[letter] = other.replace(UNSEEN_MARK, "")
    return prototypes
