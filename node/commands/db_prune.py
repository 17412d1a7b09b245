"""`datacar db prune` and `datacar db reindex`: a stopped node's old states and bodies, and its index."""

from dataclasses import asdict
from typing import Annotated

import typer

from node.commands.config import Config, Override
from node.commands.db_session import shown_progress, target
from node.commands.output import Json, print_json, print_pairs
from node.db_index import reindex as reindex_store
from node.db_prune import prune as prune_store
from node.pruning import Keep
from vm.registry import default_registry

States = Annotated[
    int | None, typer.Option("--keep-states", min=0, metavar="N", help="Recent heights whose state stays readable; 0: all.")
]
Bodies = Annotated[
    int | None, typer.Option("--keep-bodies", min=0, metavar="N", help="Recent blocks whose bodies and receipts stay; 0: all.")
]


def prune(
    keep_states: States = None,
    keep_bodies: Bodies = None,
    config: Config = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Forget old states and bodies now, and give the room back to the file system. Ctrl-C is safe: run it again to go on.

    What is not given is taken from the configuration, by which the running node prunes too. Headers, certificates, transaction
    ids, the newest snapshots and the blocks after them always stay.
    """
    node = target(config, override)
    storage = node.config.storage
    keep = Keep(
        storage.keep_states if keep_states is None else keep_states,
        storage.keep_bodies if keep_bodies is None else keep_bodies,
        storage.snapshot_every,
        storage.snapshots,
    )
    with shown_progress() as told:
        done = prune_store(node.data_dir, node.genesis, default_registry(), keep, told)
    freed = done.before_bytes - done.after_bytes
    result = {"tip": done.tip, **asdict(done.held), "before_bytes": done.before_bytes, "after_bytes": done.after_bytes}
    print_json(result | {"freed_bytes": freed}) if as_json else print_pairs(result | {"freed_bytes": freed})


def reindex(config: Config = None, override: Override = None, as_json: Json = False) -> None:
    """Make the index of transactions and events anew from the blocks that are kept.

    Broken off, it leaves no index: until it has run to its end, a node that is started indexes nothing, and its `tx_list` and
    `event_list` answer `not_indexed`.
    """
    node = target(config, override)
    with shown_progress() as told, node.store() as store:
        reach = reindex_store(store, node.genesis.spec.hash, default_registry(), told)
    result = {"first_height": reach.first, "last_height": reach.last}
    print_json(result) if as_json else print_pairs(result)
