"""`chain_getStateNode`: the state tree node by node, for finding out where two nodes' states differ (`datacar db diff`)."""

import re
from typing import Annotated, Final

from ledger.state_proof import MAX_DEPTH
from ledger.state_tree import PrunedStateError
from ledger.types import Height
from node.missing import pruned
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.schema import HeightNumber, MethodTable, ParamType, RefusedError
from node.rpc.views import HASH, HEX, INTEGER, TEXT, hex_of, nullable, shape
from node.state_node import StateNode, state_node

METHODS: Final = MethodTable()

_PATH: Final = re.compile(f"[0-9a-f]{{0,{MAX_DEPTH}}}", re.ASCII)


def _read_path(value: Json) -> bytes:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise RefusedError(f"must be up to {MAX_DEPTH} digits of a key's hash in hex")
    return bytes(int(digit, 16) for digit in value)


Path = Annotated[bytes, ParamType(_read_path, {"type": "string", "pattern": f"^{_PATH.pattern}$"})]

_NODE: Final = shape(
    digest=HASH,
    leaf=nullable(shape(key=HEX, value=HEX)),
    children={"type": "object", "additionalProperties": HASH},
)


@METHODS.method("chain_getStateNode", result=shape(height=INTEGER, path=TEXT, node=nullable(_NODE)))
async def get_state_node(rpc: Context, height: HeightNumber | None = None, path: Path = b"") -> Json:
    """Return what stands at a path of the state tree of a height: a leaf's raw key and value, or the digests of the children.

    A path is the first hex digits of keys' hashes, the empty one the root. `node` is null where nothing stands. Errors: pruned.
    """
    version = rpc.node.state_at(rpc.node.tip.height if height is None else Height(height))
    try:
        found = state_node(version.tree, version.root, path)
    except PrunedStateError as error:  # while it was being read
        raise pruned(f"the state of height {version.root.height}", rpc.node.held.states_from, height=height) from error
    digits = "".join(f"{slot:x}" for slot in path)
    return {"height": version.root.height, "path": digits, "node": None if found is None else _view(found)}


def _view(found: StateNode) -> Json:
    leaf = None if found.leaf is None else {"key": hex_of(found.leaf[0]), "value": hex_of(found.leaf[1])}
    children = {f"{slot:x}": hex_of(digest) for slot, digest in found.children.items()}
    return {"digest": hex_of(found.digest), "leaf": leaf, "children": children}
