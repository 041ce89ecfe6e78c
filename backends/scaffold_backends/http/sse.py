"""Parses server-sent events: from chunks of bytes to the data of whole events.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html. Only `data` is used: every API
repeats `event` inside it, and none can resume from an `id`. httpx-sse is not used, since it goes through httpx's
decoding of lines, which costs more than everything else that is done with an event.
"""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class EventDecoder:
    """Collects the data of events."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # the pieces of a line that has not ended yet
        self._data: list[bytes] = []
        self._is_first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes; return the data of each event that they complete."""
        if b"\n" not in piece and b"\r" not in piece:
            self._rest.append(piece)
            return []
        if self._rest:
            piece = b"".join((*self._rest, piece))
            self._rest.clear()
        if b"\r" in piece:
            # The line ending may be cut in two, so a `\r` waits for what follows.
            cut = piece.endswith(b"\r")
            piece = piece[: len(piece) - cut].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = piece.split(b"\n")
            lines[-1] += b"\r" if cut else b""
        else:
            lines = piece.split(b"\n")
        if lines[-1]:
            self._rest.append(lines[-1])
        if self._is_first:
            lines[0] = lines[0].removeprefix(_BOM)
            self._is_first = False
        events = []
        for line in lines[:-1]:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        return events

    def end(self) -> list[bytes]:
        """Return an event at the end of the stream that lacks its blank line."""
        return self.feed(b"\n\n")
