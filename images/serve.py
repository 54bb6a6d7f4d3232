# SPDX-License-Identifier: Apache-2.0
"""A read-only web server for chunk stores, indexes and releases: small sites, factories, tests.

It serves what lies below one folder and is named like a compressed chunk, an index, a release, or
the signature of one, and nothing else: names are matched, not cleaned, and no symbolic link is
followed. Put a real web server in front where secrecy counts.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Self

from images.chunkfile import compressed_suffix
from images.errors import NotAccessible
from images.http_message import Asked
from images.http_server import Found, Limits, OpenFile, Refusal, Server, listen

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._@+-]*"


class FolderServer:
    """A running server; see `serve`.

    Attributes:
        url: where it is, without a slash at the end.
    """

    def __init__(
        self, root: str | os.PathLike[str], address: str, port: int, limits: Limits
    ) -> None:
        chunk = rf"([0-9a-f]{{4}})/\2[0-9a-f]{{60}}{re.escape(compressed_suffix())}"
        release = r"latest\.json|release\.json(?:\.asc)?"
        index = rf"{_NAME}\.cai[bd]x(?:\.asc)?"
        self._path = re.compile(rf"/((?:{_NAME}/)*(?:{chunk}|{index}|{release}))")
        try:
            self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotAccessible(f"{os.fspath(root)}: {error.strerror}") from error
        try:
            listener = listen(address, port)
        except NotAccessible:
            os.close(self._root)
            raise
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        self._server = Server(listener, self._find, limits)
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        if self._open:
            self._open = False
            self._server.close()
            os.close(self._root)

    def _find(self, asked: Asked, local: str) -> Found:
        """Open a regular file below the root, folder by folder."""
        match = self._path.fullmatch(asked.path)
        if match is None:
            return Refusal(404)
        *folders, name = match[1].split("/")
        at, opened = self._root, []
        try:
            for folder in folders:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                at = os.open(folder, flags, dir_fd=at)
                opened.append(at)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(name, flags, dir_fd=at)
        except OSError:
            return Refusal(404)
        finally:
            for folder_fd in opened:
                os.close(folder_fd)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return OpenFile(file)
        os.close(file)
        return Refusal(404)


def serve(
    root: str | os.PathLike[str],
    address: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
) -> FolderServer:
    """Start to serve a folder; the server runs until it is closed.

    Args:
        root: the folder; stores and indexes may lie at any depth.
        address: to listen on; numeric.
        port: 0 for a free one.
        limits: what clients may take; None for the defaults.

    Raises:
        NotAccessible: no such folder, or the port is taken.
    """
    return FolderServer(root, address, port, limits or Limits())
