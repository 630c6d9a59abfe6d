"""Whether each cell of a CSV file that a quotation mark opens is closed by one, block by block.

A reader takes a stray mark ("Big Al) for the beginning of a cell, and all rows up to the next mark for what
is in it: people vanish, and nothing tells. So what Python's `csv` refuses when it is strict is found here. A
mark opens a cell where it is the first thing in it; inside, two are a letter, and one closes the cell, which
must end there; in the midst of a bare cell it is a letter.

Marks side by side are looked at together. Pairs leave everything as it was. The odd one left over opens or
closes a cell where one may begin; anywhere else it closes one or is a letter, so that none is open behind it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MARK = b'"'
#: So much at once stays in a processor's cache, and what is rare in a file slows only few pieces.
_PIECE_BYTES = 64 * 1024

Letters = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


class QuotedCells:
    """Looks at the bytes of a file, without a byte order mark, as they pass. `delimiter` is in ASCII."""

    def __init__(self, delimiter: str) -> None:
        self._edges = np.zeros(256, dtype=bool)
        self._edges[[ord(delimiter), *b"\r\n"]] = True
        #: The last byte that is no mark, and one or two marks for an odd or even number behind it, which only
        #: the next bytes explain. A file begins as a line does.
        self._left = b"\n"
        self._breaks: Counts = np.zeros(2, dtype=np.int64)
        self._opened: int | None = None  #: The line in which the cell begins that is open now.

    def wrong_in(self, block: bytes) -> int | None:
        """The line where a cell begins that this block closes and that goes on behind that; or None."""
        pieces = (block[at : at + _PIECE_BYTES] for at in range(0, len(block), _PIECE_BYTES))
        return next(filter(None, map(self._wrong_in, pieces)), None)

    def wrong_at_end(self) -> int | None:
        """The same at the end of the file, where an open cell is wrong, too."""
        return self.wrong_in(b"\n") or self._opened

    def _wrong_in(self, piece: bytes) -> int | None:
        wrong, text = None, piece
        if _MARK in piece or _MARK in self._left:
            text = self._left + piece
            wrong = self._misplaced(np.frombuffer(text.rstrip(_MARK), dtype=np.uint8))
        body = text.rstrip(_MARK)
        marks = len(text) - len(body)
        self._left = body[-1:] + _MARK * (marks and 2 - marks % 2)
        self._breaks += _breaks(np.frombuffer(piece, dtype=np.uint8))
        return wrong

    def _misplaced(self, body: Letters) -> int | None:
        """Of bytes that neither begin nor end with a mark; the first was in the piece before."""
        marks = np.flatnonzero(body == ord(_MARK))
        if not len(marks):
            return None
        opened = int(self._opened is not None)
        opening, closing = marks[opened::2], marks[1 - opened :: 2]
        # In most blocks marks open and close in turns, and there is nothing more to see.
        if self._edges[body[opening - 1]].all() and self._edges[body[closing + 1]].all():
            self._opened = self._line(opening, body) if (len(marks) + opened) % 2 else None
            return None
        first = np.flatnonzero(np.diff(marks, prepend=-1) > 1)  # of those side by side
        starts, sizes = marks[first], np.diff(first, append=len(marks))
        odd, may_begin = sizes % 2 == 1, self._edges[body[starts - 1]]
        turns = np.cumsum(odd & may_begin)
        closed = np.where(odd & ~may_begin, turns, 0 if self._opened is None else -1)
        open_after = (turns - np.maximum.accumulate(closed)) % 2 == 1
        open_before = np.append(self._opened is not None, open_after[:-1])
        begin = starts[may_begin & ~open_before]
        wrong = starts[np.where(open_before, odd, may_begin & ~odd) & ~self._edges[body[starts + sizes]]]
        line = self._line(begin[begin <= wrong[0]], body) if len(wrong) else None
        self._opened = self._line(begin, body) if open_after[-1] else None
        return line

    def _line(self, begin: Counts, body: Letters) -> int | None:
        """Of the last cell that begins there; of the open one, where none does."""
        if not len(begin):
            return self._opened
        return int(1 + (self._breaks + _breaks(body[1 : begin[-1]])).max())


def _breaks(letters: Letters) -> Counts:
    """How many LF and CR there are: lines end with the one or the other, or with both."""
    return np.array([np.count_nonzero(letters == end) for end in b"\n\r"])
