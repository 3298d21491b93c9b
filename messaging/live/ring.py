"""The newest records of the rooms shown here: most replays come from memory."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice

from messaging.history import RING, Record

RING_BYTES = 8 * 1024 * 1024  # of one room
ALL_RINGS_BYTES = 64 * 1024 * 1024  # of all rooms of a process
OVERHEAD = 150  # bytes of memory that a record takes beside its JSON


class Rings:
    """All rings of a process, and the one budget of bytes that they share."""

    def __init__(self, budget: int = ALL_RINGS_BYTES) -> None:
        self.size = 0  # bytes
        self._budget = budget
        self._by_use: OrderedDict[Ring, None] = OrderedDict()  # the latest is last

    def used(self, ring: "Ring") -> None:
        """A replay came from it."""
        self._by_use[ring] = None
        self._by_use.move_to_end(ring)

    def fit(self, ring: "Ring") -> None:
        """`ring` has grown. Those from which no replay came for longest give way."""
        self._by_use.setdefault(ring)
        while self.size > self._budget and self._by_use:
            oldest = next(iter(self._by_use))
            if not oldest.drop_oldest():
                del self._by_use[oldest]  # it has nothing to give, until it grows

    def forget(self, ring: "Ring") -> None:
        self._by_use.pop(ring, None)


class Ring:
    """The newest records of one room, in order and without a hole. What has not been
    sent yet is never dropped."""

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self._records: deque[Record] = deque()
        self._sent = 0
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def append(self, record: Record) -> None:
        self._records.append(record)
        self._grow(len(record.json) + OVERHEAD)

    def begin(self, records: Iterable[Record], sent: int) -> None:
        """Forget all, and begin with these, up to the number `sent`."""
        self.clear()
        for record in records:
            self.append(record)
        self.trim(sent)

    def clear(self) -> None:
        self._records.clear()
        self._grow(-self.size)

    def leave(self) -> None:
        """The room is shown no more; what is still on its way here counts no more."""
        self.clear()
        self._rings.forget(self)
        self._rings = Rings()

    def trim(self, sent: int) -> None:
        """All up to the number `sent` was sent; drop what is too much."""
        self._sent = sent
        while len(self) > RING or self.size > RING_BYTES:
            if not self.drop_oldest():
                break
        self._rings.fit(self)

    def drop_oldest(self) -> bool:
        """False if there is none that may go."""
        if not self._records or self._records[0].seq > self._sent:
            return False
        self._grow(-len(self._records.popleft().json) - OVERHEAD)
        return True

    def reaches(self, seq: int) -> bool:
        return bool(self._records) and self._records[0].seq <= seq

    def between(self, seen: int, upto: int) -> Iterator[Record]:
        """The records after `seen` up to `upto`; the ring must reach back so far."""
        first = self._records[0].seq
        return islice(self._records, seen + 1 - first, upto + 1 - first)

    def replay(self, seen: int, upto: int, size: int) -> list[Record]:
        """As `between`, but no more than `size` bytes; one record at least."""
        self._rings.used(self)
        piece: list[Record] = []
        for record in self.between(seen, upto):
            size -= len(record.json)
            if piece and size < 0:
                break
            piece.append(record)
        return piece

    def _grow(self, size: int) -> None:
        self.size += size
        self._rings.size += size
