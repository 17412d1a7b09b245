"""The steps that flows are made of: an RPC call, a pause. Who drives a flow carries them out (`Client.run`)."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from datacar.rpc import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """An RPC call. `wait_s` is how long the node itself may take before it answers."""

    method: str
    params: Mapping[str, Json]
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep this long."""

    seconds: float


Flow: TypeAlias = Generator[Call | Pause, Json, T]
