"""Rows of CSV, JSON-lines and Parquet files, one after another, bounded. Knows no meaning."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import InvalidInput

MAX_COLUMNS = 1000
BATCH_ROWS = 8192
DELIMITERS = ",;\t|"
PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
FORMATS = "CSV, JSON lines and Parquet are read."
MOMENT = pa.timestamp("us")
TEXTS = (pa.types.is_string, pa.types.is_large_string)
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)

Row = tuple[int, list[Any]]
"""Its number in the file, as a reader sees it, and the cells asked for."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a file is read.

    Attributes:
        file_bytes: As it was uploaded.
        rows: Rows with data.
        unpacked_bytes: Of a Parquet file, as it declares them; a small file may unpack to very
            much.
    """

    file_bytes: int = 64 * 2**20
    rows: int = 2_000_000
    unpacked_bytes: int = 2**30

    def require_rows(self, count: int) -> None:
        """Refuse more rows than are read.

        Raises:
            InvalidInput: There are more.
        """
        if count > self.rows:
            raise InvalidInput(
                f"The file has more than {self.rows:,} rows.", "Cut out the part to plan for."
            )


BOUNDS = Bounds()


class RowSource(Protocol):
    """A file whose columns are known and whose rows can be read once."""

    @property
    def word(self) -> str:
        """What its rows are called: rows, or lines."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """Return the cells of some columns row by row; None where there is no value.

        Raises:
            InvalidInput: A row cannot be read, or there are too many; names the row.
        """


def open_rows(
    content: bytes, file_name: str, is_known: Callable[[str], bool], bounds: Bounds = BOUNDS
) -> RowSource:
    """Recognise the format of a file by its content and name, and read its column names.

    Args:
        is_known: Whether a column name means something to the caller; tells CSV delimiters apart.

    Raises:
        InvalidInput: The file is too large, empty, or none of the formats.
    """
    if len(content) > bounds.file_bytes:
        raise InvalidInput(
            f"{file_name} has {len(content) / 2**20:.0f} MiB.",
            f"At most {bounds.file_bytes // 2**20} MiB are read; cut out the part to plan for.",
        )
    if content.startswith(GZIP_MAGIC):
        raise InvalidInput(f"{file_name} is compressed.", f"Unpack it first. {FORMATS}")
    ending = PurePath(file_name).suffix.lower()
    if content.startswith(PARQUET_MAGIC) or ending == ".parquet":
        return ParquetRows(content, file_name, bounds)
    text = _text(content, file_name)
    if text.lstrip()[:1] in ("{", "[") or ending in (".jsonl", ".ndjson", ".json"):
        return JsonRows(text, bounds)
    return CsvRows(text, is_known, bounds)


def _text(content: bytes, file_name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file_name} is neither UTF-8 text nor Parquet.", f"Save it as UTF-8. {FORMATS}"
        ) from error
    if not text.strip():
        raise InvalidInput(f"{file_name} is empty.", FORMATS)
    return text


class CsvRows:
    """Comma-separated values; also with semicolons, tabs or bars. The first row has the names."""

    word = "Row"

    def __init__(self, text: str, is_known: Callable[[str], bool], bounds: Bounds) -> None:
        self._bounds = bounds

        def names(delimiter: str) -> list[str]:
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))

        def known(delimiter: str) -> int:
            return sum(map(is_known, names(delimiter)))

        try:
            best = max(DELIMITERS, key=known)
            self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=best, strict=True)
            self.columns = tuple(name.strip() for name in next(self._reader))
        except csv.Error as error:
            raise InvalidInput(f"Row 1 cannot be read: {error}.", FORMATS) from error
        _require_few_columns(self.columns)

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """See `RowSource`; rows are counted with the header, so the first has number 2."""
        places = [self.columns.index(name) for name in chosen]
        number = 1
        try:
            for number, row in enumerate(self._reader, 2):
                self._bounds.require_rows(number - 1)
                if not row:
                    continue
                if len(row) != len(self.columns):
                    raise InvalidInput(
                        f"Row {number} has {len(row)} cells, the header {len(self.columns)}.",
                        "Put texts that hold the delimiter in quotes; write 1.5, not 1,5.",
                    )
                yield number, [row[place] or None for place in places]
        except csv.Error as error:
            raise InvalidInput(
                f"Row {number + 1} cannot be read: {error}.",
                "Close quotes, and leave out texts of more than 131,072 characters.",
            ) from error


class JsonRows:
    """One JSON object per line; the first one has the names."""

    word = "Line"

    def __init__(self, text: str, bounds: Bounds) -> None:
        self._bounds = bounds
        # Not splitlines(): it also splits at U+2028 and others, which JSON strings may hold.
        self._lines = text.split("\n")
        first = next(number for number, line in enumerate(self._lines, 1) if line.strip())
        self.columns = tuple(self._object(first))
        _require_few_columns(self.columns)

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """See `RowSource`."""
        count = 0
        for number, line in enumerate(self._lines, 1):
            if line.strip():
                count += 1
                self._bounds.require_rows(count)
                values = self._object(number)
                yield number, [values.get(name) for name in chosen]

    def _object(self, number: int) -> dict[str, Any]:
        try:
            value: Any = json.loads(self._lines[number - 1])
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"Line {number} is not JSON.", "Write one JSON object per line, not a list."
            ) from error
        if not isinstance(value, dict):
            raise InvalidInput(
                f"Line {number} is not a JSON object.",
                "Write one JSON object per line, not a list.",
            )
        return value


class ParquetRows:
    """A Parquet file. What it unpacks to is bounded by what it declares."""

    word = "Row"

    def __init__(self, content: bytes, file_name: str, bounds: Bounds) -> None:
        self._content, self._name, self._bounds = content, file_name, bounds
        try:
            self._schema = pq.read_schema(pa.BufferReader(content))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable() from error
        self.columns = tuple(self._schema.names)
        _require_few_columns(self.columns)

    def rows(self, chosen: Sequence[str]) -> Iterator[Row]:
        """See `RowSource`; moments come as seconds since 1970."""
        for name in chosen:
            self._require_plain(name)
        number = 0
        try:
            for batch in self._batches(list(chosen)):
                batch.validate(full=True)  # a damaged file may hold texts that are no UTF-8
                columns = [_cells(batch.column(name)) for name in chosen]
                for cells in zip(*columns, strict=True):
                    number += 1
                    self._bounds.require_rows(number)
                    yield number, list(cells)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable() from error

    def _batches(self, chosen: list[str]) -> Iterator[pa.RecordBatch]:
        # As dictionaries, repeated texts stay as small as they are in the file.
        texts = [name for name in chosen if _is(self._schema.field(name).type, TEXTS)]
        file = pq.ParquetFile(pa.BufferReader(self._content), read_dictionary=texts)
        self._bounds.require_rows(file.metadata.num_rows)
        if _unpacked_bytes(file.metadata) > self._bounds.unpacked_bytes:
            raise InvalidInput(
                f"{self._name} unpacks to more than {self._bounds.unpacked_bytes // 2**20} MiB.",
                "Leave out the texts, or cut out the part to plan for.",
            )
        yield from file.iter_batches(BATCH_ROWS, columns=chosen, use_threads=False)

    def _require_plain(self, name: str) -> None:
        kind = self._schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not _is(kind, (*TEXTS, *NUMBERS, pa.types.is_timestamp)):
            raise InvalidInput(
                f"The column {name!r} holds {kind}.", "Numbers, moments and texts are read."
            )

    def _unreadable(self) -> InvalidInput:
        return InvalidInput(f"{self._name} is not a Parquet file, or damaged.", FORMATS)


def _cells(column: Any) -> list[Any]:
    """Return a column of a batch as Python's own numbers and texts."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        names = _cells(column.dictionary)
        return [None if i is None else names[i] for i in column.indices.to_pylist()]
    if pa.types.is_timestamp(kind):
        # Safe is off: parts of a microsecond may be dropped.
        micros = pc.cast(pc.cast(column, MOMENT, safe=False), pa.int64())
        return [None if at is None else at / 1e6 for at in micros.to_pylist()]
    if pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    cells: list[Any] = column.to_pylist()
    return cells


def _unpacked_bytes(metadata: Any) -> int:
    # Not by column: asking a damaged file for a column's metadata ends the process (pyarrow 26).
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return sum(group.total_byte_size for group in groups)


def _is(kind: Any, checks: Sequence[Callable[[Any], bool]]) -> bool:
    return any(check(kind) for check in checks)


def _require_few_columns(columns: Sequence[str]) -> None:
    if len(columns) > MAX_COLUMNS:
        raise InvalidInput(
            f"The file has {len(columns)} columns.",
            "Keep arrival time, prompt and answer length, and perhaps the class or the prompt.",
        )
