"""Looks for texts that are slow to render, by climbing: a change that makes a text take
more time for each of its characters is kept.

The time is the processor's, so that a busy machine does not matter much. A text that
takes longer than ENDLESS is given up, and counts as that long.
"""

import random
import signal
import time
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass

from messaging.models import MAX_BODY
from messaging.rendering import markdown
from messaging.rendering.languages import LANGUAGES
from tests.lab.fuzz.grammar import BOMBS, CODE, MARKDOWN

ENDLESS = 5.0  # seconds
TRIES = 12  # changes without a gain, then another text is begun
MARKED = "Markdown"
SUBJECTS = (MARKED, *LANGUAGES)


class TooSlow(BaseException):
    """Nothing catches it but us."""


@dataclass(frozen=True, order=True)
class SlowText:
    """A text, and what it takes."""

    seconds: float
    subject: str
    body: str

    def __str__(self):
        return (
            f"{1000 * self.seconds:.0f} ms for {len(self.body):,} characters,"
            f" {self.subject}: {abridged(self.body)}"
        )


class Climb:
    """One climb in each of the subjects in turn, all from one seed."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.slowest = {}  # {subject: the slowest SlowText}
        self.tried = 0
        self.beginnings = {}  # {subject: pieces to begin with, the steepest last}

    def run(self, seconds):
        """Climb for so long; the slowest texts, the slowest first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for subject in SUBJECTS:
                self.climb(subject)
                if time.monotonic() > end:
                    break
        return sorted(self.slowest.values(), reverse=True)

    def climb(self, subject):
        """Begin with a piece again and again, the steepest first, then with what the
        dice say; and change it while that gains."""
        if subject not in self.beginnings:
            self.beginnings[subject] = self.sorted_pieces(subject)
        beginnings = self.beginnings[subject]
        parts = Parts(self.dice, subject, beginnings and beginnings.pop())
        best, since = self.measured(parts), 0
        while since < TRIES and best.seconds < ENDLESS:
            changed = parts.changed()
            slow = self.measured(changed)
            if steepness(slow) > steepness(best):
                parts, best, since = changed, slow, 0
            else:
                since += 1

    def sorted_pieces(self, subject):
        def its_steepness(piece):
            return steepness(self.measured(Parts(self.dice, subject, piece)))

        return sorted(pieces_of(subject), key=its_steepness)

    def measured(self, parts):
        body = parts.body()
        self.tried += 1
        slow = SlowText(time_to_render(body), parts.subject, body)
        if slow.seconds > self.record(parts.subject):
            # Once more: something else may have been the reason.
            again = min(slow.seconds, time_to_render(body))
            slow = SlowText(again, parts.subject, body)
            if again > self.record(parts.subject):
                self.slowest[parts.subject] = slow
        return slow

    def record(self, subject):
        return self.slowest[subject].seconds if subject in self.slowest else 0


class Parts:
    """A text as it is made: what comes before, a few pieces again and again, and what
    comes after them."""

    def __init__(self, dice, subject, beginning):
        self.dice, self.subject = dice, subject
        self.pieces = pieces_of(subject)
        self.size = MAX_BODY if subject == MARKED else most_coloured(subject)
        self.before, self.again, self.after = "", beginning or self.some(), ""

    def some(self):
        return "".join(self.dice.choices(self.pieces, k=self.dice.choice((1, 1, 2, 3))))

    def changed(self):
        other = copy(self)
        match self.dice.randrange(6):
            case 0:
                other.before = self.some() if self.dice.random() < 0.7 else ""
            case 1:
                other.after = self.some() if self.dice.random() < 0.7 else ""
            case 2:
                other.again = self.again + self.some()
            case 3:
                other.again = self.some()
            case 4:
                at = self.dice.randrange(len(self.again))
                other.again = self.again[:at] + self.some() + self.again[at + 1 :]
            case 5:
                at = self.dice.randrange(len(self.again))
                other.again = self.again[:at] + self.again[at + 1 :] or self.some()
        return other

    def body(self):
        space = self.size - len(self.before) - len(self.after)
        text = self.before + (self.again * space)[:space] + self.after
        return text if self.subject == MARKED else f"```{self.subject}\n{text}\n```"


def pieces_of(subject):
    return MARKDOWN + BOMBS if subject == MARKED else CODE


def most_coloured(language):
    return markdown.MAX_COLOURED // (markdown.weight_of(language) or 1) - 1


def steepness(slow):
    return slow.seconds / len(slow.body)


def time_to_render(body):
    """Seconds of the processor."""
    began = time.process_time()
    try:
        with at_most(ENDLESS):
            markdown.to_html(body)
    except TooSlow:
        return ENDLESS
    return time.process_time() - began


@contextmanager
def at_most(seconds):
    """Raises TooSlow in the code inside after that time of the processor. (Where that
    is a regular expression, it looks for signals now and then.)"""

    def stop(number, frame):
        raise TooSlow

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)  # again where it is ignored
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


def abridged(body, most=60):
    return repr(body if len(body) <= most else f"{body[:most]}…{body[-10:]}")
