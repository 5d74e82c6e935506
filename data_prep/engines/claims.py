"""Who does which unit, or which segment of one: runs take them one by one, by a file that the first one writes.

A run tells that it lives by a file that changes every :data:`BEAT_S` seconds. Whose file has not changed for
:data:`LEASE_S` seconds of the watching run's own clock is dead, and what it had claimed is free: clocks are never
compared. On one machine the process is asked for, and nobody waits. Where two runs still take one unit, both write the
same bytes: a claim saves work, it keeps nothing right.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from data_prep.engines.owner import lives
from data_prep.engines.plan import Unit
from data_prep.engines.segments import Piece, Staging, pieces_of
from data_prep.store import Store

CLAIMS_FOLDER = "claims"
#: Seconds between signs of life, and without any after which a run counts as dead.
BEAT_S, LEASE_S = 15.0, 90.0
#: Seconds after which a run asks again whether another one lives.
ASK_S = 1.0
#: Seconds after which a run looks again which units others have finished.
REFRESH_S = 30.0
#: A run that finds nothing left waits for what others have just taken, where it begins with a video of so many bytes:
#: they say within so many seconds, and so many more by its bytes, whether it is long, so that there are segments to do.
LONG_BYTES, LOOK_S, LOOK_BYTES_S = 256 << 10, 60.0, 20e6


class Claims:
    """What of the units of ``todo`` this run gets, piece by piece; a context manager that lets go of them at the end.

    ``done()`` gives the numbers of units that have a record now, ``whole(unit)`` whether one is finished by now;
    ``staging`` knows of segments.
    """

    def __init__(
        self,
        store: Store,
        todo: Iterable[Unit],
        done: Callable[[], set[int]],
        whole: Callable[[Unit], bool],
        staging: Staging,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.store, self.owner, self.clock = store, store.owner, clock
        self._done, self._whole, self._staging = done, whole, staging
        self._todo = deque(Piece(unit) for unit in todo)
        self._before, self._looked = done(), clock()
        self._again = float("-inf")
        self._mine: set[str] = set()
        #: Piece → who holds it, and since when that is known.
        self._theirs: dict[str, str] = {}
        self._since: dict[str, float] = {}
        #: owner → (its last sign of life, when that was first seen, whether another one came since)
        self._signs: dict[str, tuple[bytes, float, bool]] = {}
        self._ends, self._beats = threading.Event(), 0
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Claims:
        self._tidy()
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        with suppress(OSError):  # whatever ended the run is what is to be told
            self.store.remove([*sorted(self._mine), self._sign(self.owner)])

    def next(self) -> Piece | None:
        """A piece that is this run's now, or None where there is none to be had at the moment."""
        if self.clock() < self._again:
            return None
        self._refresh()
        left = len(self._todo)
        while left:
            left -= 1
            piece = self._todo.popleft()
            if self._waits(piece) or not self._win(piece):
                self._todo.append(piece)
            elif self._whole(piece.unit) or self._staging.has(piece):
                self.release(piece.name)
            elif piece.segment is None and (parts := self._staging.parts(piece.unit)) != piece.parts:
                self.release(piece.name)
                left += self._put(pieces_of(piece.unit, parts))
            else:
                return piece
        self._again = self.clock() + BEAT_S / 3  # what others hold is not asked for with every video
        return None

    def divide(self, piece: Piece, index: int, segments: int) -> None:
        """Let go of a unit, whose video ``index`` has so many segments: they come next."""
        pieces = self._staging.divide(piece.unit, {**piece.parts, index: segments})
        self.release(piece.name)
        self._put(pieces)

    @property
    def undecided(self) -> bool:
        """Whether pieces are left whose owner may be dead, or which may turn out to be long; only time tells."""
        return any(self._knows(self._theirs.get(p.name, "")) is None or self._may_be_long(p) for p in self._todo)

    @property
    def others(self) -> int:
        """How many units are left to others."""
        return len({piece.unit.number for piece in self._todo})

    def win(self, name: str) -> bool:
        """Claim ``name``; whether it is this run's now."""
        won = self.store.create(f"{CLAIMS_FOLDER}/{name}", self.owner.encode())
        if won:
            self._mine.add(f"{CLAIMS_FOLDER}/{name}")
        return won

    def win_from_dead(self, name: str) -> bool:
        """The same, also where a run holds it that is dead, or turns out to be within :data:`LEASE_S`."""
        while not self.win(name):
            owner = self._owner_of(name)
            if self._free(name, owner):
                continue
            if self._knows(owner) is not None:
                return False
            time.sleep(ASK_S)
        return True

    def release(self, name: str) -> None:
        """Let go of ``name``."""
        self.store.remove([f"{CLAIMS_FOLDER}/{name}"])
        self._mine.discard(f"{CLAIMS_FOLDER}/{name}")
        self._again = float("-inf")

    def _put(self, pieces: list[Piece]) -> int:
        """Pieces that come next: segments of a unit of which others may be known already."""
        known = {piece.name for piece in self._todo}
        new = [piece for piece in pieces if piece.name not in known]
        self._todo.extendleft(reversed(new))
        return len(new)

    def _waits(self, piece: Piece) -> bool:
        """Whether a divided unit still lacks segments."""
        return piece.segment is None and bool(piece.parts) and not self._staging.ready(piece)

    def _win(self, piece: Piece) -> bool:
        """Claim a piece, unless somebody holds it who lives, or may."""
        owner = self._theirs.get(piece.name)
        if owner is not None and not self._free(piece.name, owner):
            return False
        if self.win(piece.name):
            return True
        self._theirs[piece.name] = self._owner_of(piece.name)
        self._since.setdefault(piece.name, self.clock())
        return False

    def _may_be_long(self, piece: Piece) -> bool:
        """Whether a unit that another run holds may be found to be long by it, and divided, any moment now."""
        held, size = self._since.get(piece.name), piece.unit.videos[0].bytes if piece.unit.videos else 0
        if held is None or piece.segment is not None or piece.parts or size < LONG_BYTES:
            return False
        return self.clock() - held < LOOK_S + size / LOOK_BYTES_S

    def _free(self, name: str, owner: str) -> bool:
        """Whether nobody alive holds a claim (any more); what the dead have left goes."""
        now = self._owner_of(name)
        if now == "":
            return True
        if now == owner and self._knows(owner) is False:
            self.store.remove([f"{CLAIMS_FOLDER}/{name}", self._sign(owner)])
            self.store.remove_parts(owner)
            return True
        return False

    def _owner_of(self, name: str) -> str:
        try:
            return self.store.read(f"{CLAIMS_FOLDER}/{name}").decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _knows(self, owner: str) -> bool | None:
        """Whether a run is alive; None where that is not known yet."""
        if owner in ("", self.owner):
            return True
        known = lives(owner)
        if known is not None:
            return known
        try:
            sign = self.store.read(self._sign(owner))
        except (FileNotFoundError, ValueError):
            sign = b""
        before = self._signs.get(owner)
        if before is None or before[0] != sign:
            self._signs[owner] = before = (sign, self.clock(), before is not None)
        if self.clock() - before[1] >= LEASE_S:
            return False
        return True if before[2] else None

    def _tidy(self) -> None:
        """Remove what runs have left that are known to be dead: claims of units that they had finished, too."""
        names = [name.rpartition("/")[2] for name in self.store.names(CLAIMS_FOLDER)]
        for name in names:
            owner = name.removeprefix("run-") if name.startswith("run-") else self._owner_of(name)
            if lives(owner) is False:
                self.store.remove([f"{CLAIMS_FOLDER}/{name}"])
                self.store.remove_parts(owner)

    def _refresh(self) -> None:
        if self._todo and self.clock() - self._looked >= REFRESH_S:
            fresh = self._done() - self._before
            self._todo = deque(piece for piece in self._todo if piece.unit.number not in fresh)
            self._looked = self.clock()

    def _sign(self, owner: str) -> str:
        return f"{CLAIMS_FOLDER}/run-{owner}"

    def _beat(self) -> None:
        self._beats += 1
        self.store.write(self._sign(self.owner), f"{self._beats}\n".encode())

    def _live(self) -> None:
        while not self._ends.wait(BEAT_S):
            with suppress(OSError):  # a server that fails for long makes this run look dead: its units are taken over
                self._beat()
