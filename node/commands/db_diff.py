"""`datacar db diff A B`: where two nodes part, and over which key."""

import contextlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from datacar.client import Client
from ledger.block import Header
from ledger.codec import Value, as_str, as_tuple, decode
from ledger.errors import DatacarError, NotFoundError, unreachable
from ledger.types import Height
from node.block_store import stored_genesis
from node.commands.connection import DEFAULT_TIMEOUT, Timeout, expect_object
from node.commands.db_session import shown_progress
from node.commands.exits import Exit
from node.commands.output import Json, print_json, print_line, print_pairs
from node.config import load_config
from node.damage import STORE_NAME
from node.db_diff import Difference, KeyDifference, Side, StoreSide
from node.db_diff import diff as diff_sides
from node.db_tools import stopped_store
from node.node_folder import CONFIG_NAME
from node.state_node import StateNode
from vm.abi_json import untyped_to_json, value_to_json
from vm.registry import default_registry

_HELP: Final = "A stopped node's folder, its data folder or configuration; or the RPC address of a running one."
Where = Annotated[str, typer.Argument(help=_HELP, show_default=False)]


def diff(
    a: Where,
    b: Where,
    keys: Annotated[
        int, typer.Option("--keys", min=1, max=10_000, metavar="N", help="Show at most so many differing keys.")
    ] = 10,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Compare two nodes of one chain: the first height at which they differ, and the first state keys.

    Ends with 0 when they agree in everything both have: one that is only behind, or has pruned more, does not differ for that;
    what could not be compared is noted. Ends with 1 when they differ, or when there is no height that both have.
    """
    with shown_progress() as told, _side(a, timeout) as one, _side(b, timeout) as other:
        found = diff_sides(one, other, keys, told)
    print_json(_document(found)) if as_json else _show(found, a, b)
    if not found.same:
        raise typer.Exit(Exit.ERROR)


@contextlib.contextmanager
def _side(where: str, timeout_s: float) -> Iterator[Side]:
    if where.startswith(("http://", "https://")):
        with Client(where, timeout_s) as client:
            yield _RpcSide(where, client)
        return
    with stopped_store(_data_dir(Path(where))) as store:
        yield StoreSide(where, store, stored_genesis(store.raw) or unreachable("a store that is open has a chain"))


def _data_dir(path: Path) -> Path:
    """Return the data folder that a path stands for: the folder itself, the database in it, a node's folder, a configuration."""
    if (path / STORE_NAME).is_dir():
        return path
    if path.name == STORE_NAME and path.is_dir():
        return path.parent
    config = path / CONFIG_NAME if path.is_dir() else path
    if not config.is_file():
        hint = "name a node's folder, its data folder or its configuration, or a URL"
        raise NotFoundError("not_found", f"{path} is neither a node's folder nor its configuration", hint=hint, path=str(path))
    return load_config(config).node.data_dir


class _RpcSide:
    """A running node, asked over RPC."""

    def __init__(self, url: str, client: Client) -> None:
        self.name = url
        self._client = client
        with self._understanding():
            info, held = self._ask("chain_info"), self._ask("node_capabilities")["held"]
            self.genesis_hash = bytes.fromhex(info["genesis_hash"][2:])
            self._heights = Height(int(held["headers_from"])), Height(int(info["height"]))

    def _ask(self, method: str, **params: Any) -> Any:
        return expect_object(self._client.call(method, **params), method)

    def heights(self) -> tuple[Height, Height]:
        """Return the first height whose header is held, and the tip of when this began."""
        return self._heights

    def header(self, height: Height) -> Header:
        """Return a committed header."""
        with self._understanding():
            view = self._ask("chain_getHeader", height=height)
            return Header(**{item.name: _plain(view[item.name]) for item in fields(Header)})

    def node(self, height: Height, path: bytes) -> StateNode | None:
        """Return what stands at a path of a version of the state."""
        with self._understanding():
            found = self._ask("chain_getStateNode", height=height, path="".join(f"{slot:x}" for slot in path))["node"]
            if found is None:
                return None
            leaf = found["leaf"]
            pair = None if leaf is None else (_plain(leaf["key"]), _plain(leaf["value"]))
            children = {int(slot, 16): _plain(digest) for slot, digest in found["children"].items()}
            return StateNode(_plain(found["digest"]), pair, children)

    @contextlib.contextmanager
    def _understanding(self) -> Iterator[None]:
        """Answers of another shape become an error that says so."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            hint = "is it a Datacar node of this version?"
            raise DatacarError("bad_answer", f"{self.name} answered what makes no sense here: {error!r}", hint=hint) from error


def _plain(value: Any) -> Any:
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value


def _document(found: Difference) -> dict[str, Any]:
    return {
        "same": found.same,
        "tips": list(found.tips),
        "compared_height": found.compared,
        "first_differing_height": found.first_height,
        "differing_fields": list(found.header_fields),
        "state_height": found.state_height,
        "keys": [_key_view(item) for item in found.keys],
        "more_keys": found.more,
        "faults": found.faults,
        "notes": found.notes,
    }


def _key_view(item: KeyDifference) -> dict[str, Any]:
    """Return a differing key by its contract and field where it has them, its values by their types."""
    view: dict[str, Any] = {"raw_key": item.key, "contract": None, "field": None, "key": None, "a": item.a, "b": item.b}
    try:
        contract, field, *rest = as_tuple(decode(item.key), "state key", max_items=3)
        view |= {"contract": as_str(contract, "contract"), "field": as_str(field, "field")}
        entry = default_registry().entry(view["contract"])
        spec = next((each for each in entry.spec.storage if each.name == field), None)
    except DatacarError:
        return view
    if spec is None:
        return view
    key: Value = rest[0] if rest else None
    view["key"] = untyped_to_json(key) if spec.key is None else value_to_json(spec.key, key)
    for side in ("a", "b"):
        view[side] = None if view[side] is None else value_to_json(spec.value, decode(view[side]))
    return view


def _show(found: Difference, a: str, b: str) -> None:
    print_pairs({"A": f"{a}  (tip {found.tips[0]})", "B": f"{b}  (tip {found.tips[1]})", "compared up to": found.compared})
    if found.first_height is not None:
        print_line(f"the first block that differs is {found.first_height}: {', '.join(found.header_fields)}")
    for item in found.keys:
        view = _key_view(item)
        name = f"0x{item.key.hex()}" if view["field"] is None else f"{view['contract']}.{view['field']} {view['key']}"
        print_line(f"the state after block {found.state_height} differs at {name}")
        print_pairs({"  A": view["a"], "  B": view["b"]})
    if found.more:
        print_line("more keys differ: see --keys")
    for fault in found.faults:
        print_line(f"DAMAGED: {fault}")
    for note in found.notes:
        print_line(f"note: {note}")
    print_line(("the same, as far as both have it" if found.notes else "the same") if found.same else "they differ")
