"""Request records on disk while the database is away: bounded, one file per process."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from io import BufferedRandom
from itertools import islice
from pathlib import Path
from typing import Any

from core.domain.ids import new_id
from core.domain.traffic import RequestRecord

log = logging.getLogger(__name__)

CAPACITY_BYTES = 256 * 1024**2
BATCH = 500


class Spool:
    """Keeps records in a file until the database takes them.

    Files of gateways that ended before they could write are taken over; a lock says that a file's
    gateway still runs. Records carry ids, so that one written twice is stored once.

    Args:
        folder: Made when the first record comes.
        capacity_bytes: Largest size of the file.
    """

    def __init__(self, folder: Path, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._file: BufferedRandom | None = None
        self._size = 0
        self.records = 0

    def append(self, records: Sequence[RequestRecord]) -> int:
        """Store as many records as fit, and return how many did.

        Raises:
            OSError: The disk does not take them.
        """
        file = self._file or self._opened()
        lines = [_line(record) for record in records]
        kept: list[bytes] = []
        room = self._capacity_bytes - self._size
        for line in lines:
            room -= len(line)
            if room < 0:
                break
            kept.append(line)
        file.seek(0, os.SEEK_END)
        file.write(b"".join(kept))
        file.flush()
        self._size += sum(map(len, kept))
        self.records += len(kept)
        return len(kept)

    def batches(self) -> Iterator[list[RequestRecord]]:
        """Yield what is stored, batch by batch; a line that was cut is left out."""
        if self._file is None:
            return
        self._file.seek(0)
        while lines := list(islice(self._file, BATCH)):
            yield [record for line in lines if (record := _record(line)) is not None]

    def clear(self) -> None:
        """Forget what is stored: the database has it."""
        if self._file is not None:
            self._file.truncate(0)
            self._size = self.records = 0

    def adopt(self) -> None:
        """Take over files whose gateway no longer runs."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else ():
            with path.open("r+b") as file:
                if not _locked(file):
                    continue
                records = [record for line in file if (record := _record(line)) is not None]
                if records and self.append(records) < len(records):
                    log.error("%s does not fit into the spool; it stays", path.name)
                    continue
                path.unlink()
                if records:
                    log.info("took over %d request records from %s", len(records), path.name)

    def close(self) -> None:
        """Leave the file for the next gateway, or remove it when it is empty."""
        if self._file is None:
            return
        if not self.records:
            Path(self._file.name).unlink(missing_ok=True)
        self._file.close()
        self._file = None

    def _opened(self) -> BufferedRandom:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{new_id()}.jsonl"
        self._file = file = open(path, "x+b", opener=_private)  # noqa: SIM115
        _locked(file)
        return file


def _private(path: str, flags: int) -> int:
    """Prompts may be in it."""
    return os.open(path, flags, 0o600)


def _locked(file: BufferedRandom) -> bool:
    """Lock a file; False when its gateway runs."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _line(record: RequestRecord) -> bytes:
    values = asdict(record) | {"at": record.at.isoformat()}
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _record(line: bytes) -> RequestRecord | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return RequestRecord(**values | {"at": datetime.fromisoformat(values["at"])})
    except (ValueError, TypeError, KeyError):
        log.warning("a spooled request record cannot be read; it is left out")
        return None
