import time

ERASE = "\x1b[K"  # what is on the terminal's line


class Progress:
    """How far a long work is: on a terminal one line that is written over, elsewhere a
    line now and then."""

    def __init__(self, out, work, total):
        self._out, self._work, self._total = out, work, total
        self._every, self._ending = (0.2, "\r") if out.isatty() else (10, "\n")
        self._done = 0
        self._told = time.monotonic()

    def add(self, rows):
        self._done += rows
        if self._ending == "\r" and self._done >= self._total:
            self._out.write(ERASE, ending="")
        elif time.monotonic() - self._told > self._every:
            self._told = time.monotonic()
            share = 100 * self._done // max(self._total, 1)
            self._tell(f"{self._work}: {share} % of {self._total:,} rows")

    def counting(self, blocks):
        """The same blocks of rows, counted as they pass."""
        for block in blocks:
            self.add(block.count(b"\n"))
            yield block

    def _tell(self, words):
        self._out.write(words, ending=self._ending)
        self._out.flush()
