"""Let programs of one part share a log file: during a rolling restart `worker-1` and `worker-1.b` write the same one.

supervisord opens the file once for each program. After a rotation the program that rotated writes without O_APPEND, so
its lines overwrite those of the other. The other one continues in the renamed file, and rotates again at once, which
drops the oldest file too early. So all programs of a part write through one handle, always with O_APPEND. A
program that writes while the other is within a line starts a new line.
"""

import weakref
from typing import Any, ClassVar

from supervisor import loggers


class _SharedFile(loggers.RotatingFileHandler):  # type: ignore[misc]
    """One log file and its rotation, for all programs that write it."""

    def __init__(self, filename: str, maxbytes: int, backups: int) -> None:
        super().__init__(filename, "ab", maxbytes, backups)
        self._last_writer: weakref.ref[object] | None = None
        self._is_within_line = False

    def __del__(self) -> None:
        # The library drops the handlers of a program that has ended without closing them.
        self.close()

    def write(self, writer: object, record: Any) -> None:
        """Append the writer's output; rotate the file when it is full."""
        if self._is_within_line and self._last_writer is not None and self._last_writer() is not writer:
            self.stream.write(b"\n")
        self.emit(record)
        self._is_within_line = not record.msg.endswith(b"\n" if isinstance(record.msg, bytes) else "\n")
        self._last_writer = weakref.ref(writer)

    def doRollover(self) -> None:  # noqa: N802 - the library's name
        before = self.stream
        super().doRollover()
        if self.stream is not before:
            # The library opens the new file without O_APPEND.
            self.reopen()


class _SharedFileHandler(loggers.Handler):  # type: ignore[misc]
    """The handler of one program."""

    def __init__(self, file: _SharedFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: Any) -> None:
        self._file.write(self, record)

    def flush(self) -> None:
        self._file.flush()

    def reopen(self) -> None:
        self._file.reopen()

    def remove(self) -> None:
        self._file.remove()

    def close(self) -> None:
        # The file closes with its last handler: the other program may still write.
        pass


class PartLogger(loggers.Logger):  # type: ignore[misc]
    """The logger of one program."""

    _files: ClassVar[weakref.WeakValueDictionary[str, _SharedFile]] = weakref.WeakValueDictionary()

    def addHandler(self, handler: Any) -> None:  # noqa: N802 - the library's name
        """Replace handlers that write to a file; keep others as they are."""
        if isinstance(handler, loggers.RotatingFileHandler):
            handler = self._shared(handler)
        super().addHandler(handler)

    def _shared(self, handler: Any) -> _SharedFileHandler:
        handler.close()
        file = self._files.get(handler.baseFilename)
        if file is None:
            file = _SharedFile(handler.baseFilename, handler.maxBytes, handler.backupCount)
            file.setFormat(handler.fmt)
            self._files[handler.baseFilename] = file
        shared = _SharedFileHandler(file)
        shared.setLevel(handler.level)
        return shared
