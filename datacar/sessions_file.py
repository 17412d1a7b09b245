"""Real charging sessions in a CSV file: one line each, times in Unix seconds UTC.

Columns: session_id, station_id, user_id (empty: nobody claimed the session), connected_at, charging_done_at (empty: not known),
disconnected_at, energy_wh. Others are ignored.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import InvalidInputError
from vm.contracts.charging_types import EVENT_S_MAX, STATION_ID_CHARS_MAX, TRANSACTION_ID_CHARS_MAX
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX
from vm.session_profile import Point, SessionProfile, session_profile

COLUMNS: Final = ("session_id", "station_id", "user_id", "connected_at", "charging_done_at", "disconnected_at", "energy_wh")
USER_ID_CHARS_MAX: Final = 256

_INTEGER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class BadSessionsFileError(InvalidInputError):
    """The file as a whole cannot be read: `bad_sessions_file`."""

    def __init__(self, message: str, *, hint: str, **details: object) -> None:
        super().__init__("bad_sessions_file", message, hint=hint, **details)


class BadRowError(InvalidInputError):
    """One line is no charging session: `bad_row`. `column` is the one to look at."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__("bad_row", f"{column} {problem}", hint="correct this line and play it again", column=column)


@dataclass(frozen=True, slots=True)
class RealSession:
    """A session as it happened; times are Unix seconds UTC, connected <= charging_end <= disconnected."""

    session_id: str
    station_id: str
    user_id: str
    connected_s: int
    charging_end_s: int
    disconnected_s: int
    energy_wh: int

    def profile(self, utc_offset_minutes: int = 0) -> SessionProfile:
        """Return what is priced: it charged evenly, then was parked; local time is so far from UTC."""
        end = Point(self.disconnected_s, self.energy_wh)
        return session_profile(self.connected_s, self.charging_end_s, end, utc_offset_minutes=utc_offset_minutes)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A session that could not be played, and why."""

    session_id: str
    reason: str


def read_sessions(path: Path) -> tuple[list[RealSession], list[Rejected]]:
    """Return the sessions of a file in its order, and the lines that are none. Raises `BadSessionsFileError`, `OSError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadSessionsFileError(f"{path} is no CSV text in UTF-8: {error}", hint="export it again", path=str(path)) from error


def _read_rows(reader: "csv.DictReader[str]") -> tuple[list[RealSession], list[Rejected]]:
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        hint = f"the first line must name the columns {', '.join(COLUMNS)}"
        raise BadSessionsFileError(f"columns are missing: {', '.join(missing)}", hint=hint, missing=missing)
    return _sort_out(reader)


def _sort_out(rows: Iterable[Mapping[str, str | None]]) -> tuple[list[RealSession], list[Rejected]]:
    sessions: dict[str, RealSession] = {}
    rejected: list[Rejected] = []
    for row in rows:
        try:
            session = parse_row(row)
            if session.session_id in sessions:
                raise BadRowError("session_id", "stands twice in the file")
        except BadRowError as error:
            rejected.append(Rejected(row.get("session_id") or "", f"{error.reason}: {error.message}"))
        else:
            sessions[session.session_id] = session
    return list(sessions.values()), rejected


def parse_row(row: Mapping[str, str | None]) -> RealSession:
    """Return the session of one line. Raises `BadRowError`."""
    connected_s = _number(row, "connected_at", high=EVENT_S_MAX)
    disconnected_s = _number(row, "disconnected_at", high=EVENT_S_MAX)
    if not connected_s <= disconnected_s <= connected_s + SECONDS_MAX:
        raise BadRowError(
            "disconnected_at", f"must be within {SECONDS_MAX} s after connected_at {connected_s}, got {disconnected_s}"
        )
    charging_end_s = disconnected_s
    if row["charging_done_at"]:
        charging_end_s = min(_number(row, "charging_done_at", high=EVENT_S_MAX), disconnected_s)
    if charging_end_s < connected_s:
        raise BadRowError("charging_done_at", f"must not be before connected_at {connected_s}, got {charging_end_s}")
    return RealSession(
        session_id=_text(row, "session_id", low=1, high=TRANSACTION_ID_CHARS_MAX),
        station_id=_text(row, "station_id", low=1, high=STATION_ID_CHARS_MAX),
        user_id=_text(row, "user_id", low=0, high=USER_ID_CHARS_MAX),
        connected_s=connected_s,
        charging_end_s=charging_end_s,
        disconnected_s=disconnected_s,
        energy_wh=_number(row, "energy_wh", high=ENERGY_WH_MAX),
    )


def _text(row: Mapping[str, str | None], column: str, *, low: int, high: int) -> str:
    value = row[column]
    if value is None or not low <= len(value) <= high:
        raise BadRowError(column, f"must have {low} to {high} characters, got {'none' if value is None else len(value)}")
    return value


def _number(row: Mapping[str, str | None], column: str, *, high: int) -> int:
    value = row[column]
    if value is None or not _INTEGER.fullmatch(value) or int(value) > high:
        raise BadRowError(column, f"must be a whole number within 0..{high}, got {(value or 'nothing')[:40]}")
    return int(value)
