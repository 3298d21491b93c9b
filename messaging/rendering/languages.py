"""The languages whose code gets colours.

A short list: of Pygments' 600 lexers some never end, and some take exponential time.
`make fuzz` looks for what is slow in each of these. None of them calls one that is not
here (as the one for Markdown would, for any language that a text names).
"""

from functools import cache

from pygments.lexers import find_lexer_class_by_name

# {weight: languages}: what one of their characters counts for in MAX_COLOURED. Those of
# more than 1 take quadratic time for some texts: 0.9 s for 2,000 characters of C.
WEIGHTS = {
    1: "bash css diff docker go html javascript json kotlin lua nginx php powershell"
    " python ruby rust sql swift toml xml yaml",
    2: "console ini java make typescript",
    4: "c cpp csharp",
}
LANGUAGES = {name: weight for weight in WEIGHTS for name in WEIGHTS[weight].split()}
_CLASSES = {
    alias: (one, weight)
    for name, weight in LANGUAGES.items()
    for one in (find_lexer_class_by_name(name),)
    for alias in one.aliases
}


def weight_of(language):
    """What a character of a language counts for, by any of its names; 0 if it has no
    colours."""
    _class, weight = _CLASSES.get(language.lower(), (None, 0))
    return weight


@cache
def lexer_of(language):
    """Pygments' lexer of a language that has colours. The first call for each compiles
    its regular expressions, which takes up to 60 ms."""
    one, _weight = _CLASSES[language.lower()]
    return one()
