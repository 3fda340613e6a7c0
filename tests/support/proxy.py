"""A network that fails: a TCP proxy that cuts, delays and swallows, to be put between any two parts."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_PIECE_BYTES: Final = 1 << 16
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: an end without goodbye, as of a machine that is gone

Direction = Callable[[bytes], bytes]
"""What is handed on of a piece; less than all of it ends the connection."""


class Proxy:
    """Hands on what comes to `port`; the attributes may be changed at any time, and count for open connections too.

    Attributes:
        port: where to connect to.
        refuses: new connections are reset at once, as where nobody listens.
        delay_seconds: how long each piece waits, in either direction.
        swallows: what the server says is thrown away, and its client waits for ever.
        cut_requests: how likely a piece of what clients send is handed on by half, and the connection cut then.
        cut_replies: how likely a piece of what the server says is held back, and the connection cut instead.
        cuts: how many connections have been cut by chance.
        swallowed_bytes: how much has been thrown away.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.refuses = self.swallows = False
        self.delay_seconds = self.cut_requests = self.cut_replies = 0.0
        self.cuts = self.swallowed_bytes = 0
        self._chance = random.Random(11)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Every connection, now."""
        for each in list(self._open):
            self._drop(each)

    def heal(self) -> None:
        """Nothing fails any more; what was swallowed stays so, thus old connections are cut."""
        self.refuses = self.swallows = False
        self.delay_seconds = self.cut_requests = self.cut_replies = 0.0
        self.cut()

    def close(self) -> None:
        """The end."""
        self.refuses = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                if self.refuses:
                    self._drop(client)
                else:
                    threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            self._drop(client)
            return
        self._open.add(server)
        replies = threading.Thread(target=self._hand_on, args=(server, client, self._reply), daemon=True)
        replies.start()
        self._hand_on(client, server, self._request)
        replies.join()
        for each in (client, server):
            self._open.discard(each)
            each.close()

    def _hand_on(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        try:
            while piece := source.recv(_PIECE_BYTES):
                time.sleep(self.delay_seconds)
                kept = direction(piece)
                target.sendall(kept)
                if len(kept) < len(piece) and not self.swallows:
                    raise ConnectionResetError
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(source)
            self._drop(target)

    def _request(self, piece: bytes) -> bytes:
        return piece[: len(piece) // 2] if self._is_cut(self.cut_requests) else piece

    def _reply(self, piece: bytes) -> bytes:
        if self.swallows:
            self.swallowed_bytes += len(piece)
            return b""
        return b"" if self._is_cut(self.cut_replies) else piece

    def _is_cut(self, likely: float) -> bool:
        is_cut = self._chance.random() < likely
        self.cuts += is_cut
        return is_cut

    def _drop(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
        connection.close()


@contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    """A proxy before a port of this machine; closed with the block."""
    made = Proxy(target_port)
    try:
        yield made
    finally:
        made.close()
