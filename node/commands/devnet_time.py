"""What people write for a time to come, and how a network's time is shown."""

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer

from ledger.errors import DatacarError
from node.devnet_time import NetworkTime

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_STEP: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WentBackError(DatacarError):
    """The time of a chain does not go back."""

    def __init__(self, to_ms: int, now_ms: int) -> None:
        message = f"it is {iso(now_ms)} there already; time goes only ahead"
        super().__init__("goes_back", message, hint="choose a later time, or begin anew: `datacar devnet reset`", to_ms=to_ms)


def parse_span(text: str) -> int:
    """Return the milliseconds of `+30d`, `+1h` or `+1d12h`. Raises `typer.BadParameter`."""
    steps = text.removeprefix("+")
    found = _STEP.findall(steps)
    total_s = sum(int(count) * _UNITS_S[unit] for count, unit in found)
    if "".join(count + unit for count, unit in found) != steps or total_s == 0:
        raise typer.BadParameter(f"{text!r} is no span of time: write +30d, +1h or +1d12h (units s, m, h, d, w)")
    return total_s * 1_000


def parse_moment(text: str) -> int:
    """Return the Unix milliseconds of an ISO-8601 date or time, in UTC unless it says otherwise. Raises `typer.BadParameter`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no ISO-8601 date or time, such as 2027-01-01 or 2027-01-01T08:30Z") from None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(milliseconds=1)


def iso(time_ms: int) -> str:
    """Return Unix milliseconds as ISO-8601 in UTC."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def describe(before: NetworkTime | None, now: NetworkTime) -> dict[str, Any]:
    """Return what `devnet time --json` prints; `before` is None when nothing was moved."""
    found = {"time": iso(now.block_ms), **asdict(now)}
    if before is None:
        return found
    return {"before": iso(before.block_ms), "before_ms": before.block_ms, **found}


def shown(before: NetworkTime | None, now: NetworkTime) -> str:
    """Return the same for people."""
    moved = "" if before is None else f"{iso(before.block_ms)} -> "
    ahead = f", {timedelta(milliseconds=now.offset_ms)} ahead of this machine" if now.offset_ms else ""
    return f"{moved}{iso(now.block_ms)} at height {now.height}{ahead}"
