"""`datacar db export`: the ledger as rows, one JSON object a line or CSV. What the rows hold stands in `node.db_rows`."""

import csv
import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TextIO

from node.chain import Chain
from node.db_rows import SOURCES, Range, Row, What
from node.db_tools import Progress


class Format(StrEnum):
    """How rows are written."""

    NDJSON = "ndjson"
    CSV = "csv"


def export(chain: Chain, what: What, form: Format, wanted: Range, out: TextIO, progress: Progress) -> int:
    """Write rows to `out` and return how many. Raises `NotFoundError` `pruned` for heights that are not held, `StorageError`."""
    source = SOURCES[what]
    write = _csv_writer(out, source.columns) if form is Format.CSV else _json_writer(out)
    count = 0
    for count, row in enumerate(source.rows(chain, wanted, progress), 1):  # noqa: B007 - the last one is the answer
        write(row)
    return count


def _json_writer(out: TextIO) -> Callable[[Row], object]:
    return lambda row: out.write(_json(row) + "\n")


def _csv_writer(out: TextIO, columns: tuple[str, ...]) -> Callable[[Row], object]:
    """RFC 4180 with a line of names; lists and objects are JSON inside their field, what is not there is empty."""
    writer = csv.writer(out)
    writer.writerow(columns)
    return lambda row: writer.writerow([_json(value) if isinstance(value, dict | list) else value for value in row.values()])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
