"""Real nodes in one process, without their RPC: real drivers, LevelDB, sign-state files, sockets and TLS on loopback."""

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from consensus.sign_state import SignState
from genesis.arguments import governance_arguments
from genesis.block import GenesisBlock, make_genesis_block
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import DEV_PARAMETERS, Holders, contract_arguments, dev_ido, distribution
from genesis.spec import GenesisSpec
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import SALT_BYTES, Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Address
from node.assembly import running_driver
from node.clock import Clock, now_ms
from node.config import NodeConfig, load_config
from node.driver import Driver
from node.secret_files import write_secret, write_seed
from node.service import NodeService
from node.sign_file import open_sign_file
from tests.patience import PATIENCE_S
from tests.ports import take_ports

ACCOUNT_SEEDS = tuple(hashlib.sha256(b"account %d" % n).digest() for n in range(11))
ADDRESSES = tuple(KeyPolicy.single(public_key(seed)).address for seed in ACCOUNT_SEEDS)


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.01)


class CoreNetwork:
    """n members on loopback; each can be stopped and started again on its disk. `joiners` more nodes are not in genesis.

    A test gets it from the fixture `networks`, which stops it however the test ends.
    """

    def __init__(self, directory: Path, n: int, joiners: int = 0, parameters: ChainParameters = DEV_PARAMETERS) -> None:
        ports = take_ports(n + joiners)
        source, names = KeySource.from_seed("core network"), node_names(n + joiners)
        self.keys = [make_node_keys(source, name, f"127.0.0.1:{port}") for name, port in zip(names, ports, strict=True)]
        founders = self.keys[:n]
        now = time.time_ns() // 1_000_000
        spec = GenesisSpec(
            chain_id="core-test",
            timestamp_ms=now,
            development=True,
            parameters=parameters,
            committee=make_committee([keys.member for keys in founders]),
            contracts=contract_arguments(distribution(Holders(*ADDRESSES[:4]), dev_ido(ADDRESSES[:10], ADDRESSES[10]), now))
            | governance_arguments({keys.member.id: keys.account for keys in founders}),
        )
        self.genesis: GenesisBlock = make_genesis_block(spec)
        self.configs = [
            self._config(directory / keys.member.id, keys, port, join=keys not in founders)
            for keys, port in zip(self.keys, ports, strict=True)
        ]
        self.drivers: dict[int, Driver] = {}
        self.clocks: dict[int, Clock] = {}
        self.failures: list[BaseException] = []
        self._stacks: dict[int, contextlib.AsyncExitStack] = {}

    def _config(self, directory: Path, keys: NodeKeys, port: int, *, join: bool) -> NodeConfig:
        directory.mkdir()
        write_seed(directory / "consensus.key", keys.consensus_seed)
        write_secret(directory / "tls.pem", keys.tls_key)
        (directory / "tls.der").write_bytes(keys.member.certificate)
        sign_file = open_sign_file(directory / "data")
        sign_file.save(SignState())
        sign_file.close()
        (directory / "node.toml").write_text(
            f'[node]\nmember_id = "{keys.member.id}"\ngenesis = "unused.json"\ndata_dir = "data"\n'
            'consensus_key = "consensus.key"\ntls_certificate = "tls.der"\ntls_key = "tls.pem"\n'
            f"join = {str(join).lower()}\n"
            f'[p2p]\nhost = "127.0.0.1"\nport = {port}\n'
        )
        return load_config(directory / "node.toml")

    async def start(self, *indexes: int) -> None:
        """Start nodes (all by default)."""
        for index in indexes or range(len(self.configs)):
            stack = contextlib.AsyncExitStack()
            running = running_driver(self.configs[index], self.genesis, self.failures.append, self.clocks.get(index, now_ms))
            self.drivers[index] = await stack.enter_async_context(running)
            self._stacks[index] = stack

    async def stop(self, *indexes: int) -> None:
        """Stop nodes (all by default)."""
        for index in indexes or tuple(self._stacks):
            del self.drivers[index]
            await self._stacks.pop(index).aclose()

    async def ready(self, *indexes: int) -> None:
        """Wait until nodes are ready (all that run by default)."""
        await until(lambda: all(self.service(index).readiness().ready for index in indexes or self.drivers))

    @property
    def views(self) -> list[int]:
        """Return in which view each running node is."""
        return [driver.replica.view for driver in self.drivers.values()]

    def service(self, index: int) -> NodeService:
        """Return the RPC side of a node."""
        return NodeService(self.genesis, self.drivers[index], ACCOUNT_SEEDS[10])

    def transfer(
        self, sender: int, to: Address, amount: int, valid_for_ms: int = 60_000, gas_limit: int = 100_000
    ) -> Transaction:
        """Return a signed transfer from a funded account."""
        return self.call(ACCOUNT_SEEDS[sender], Call("asset", "transfer", (to, amount)), valid_for_ms, gas_limit)

    def govern(self, index: int, method: str, *args: Value) -> Transaction:
        """Return a call of the governance contract by a member's account."""
        return self.call(self.keys[index].governance_seed, Call("governance", method, args), gas_limit=2_000_000)

    def call(self, seed: bytes, call: Call, valid_for_ms: int = 60_000, gas_limit: int = 100_000) -> Transaction:
        """Return a signed transaction of one call."""
        body = TransactionBody(
            KeyPolicy.single(public_key(seed)),
            secrets.token_bytes(SALT_BYTES),
            time.time_ns() // 1_000_000 + valid_for_ms,
            chain_tag_of(self.genesis.spec.hash),
            (call,),
            gas_limit,
        )
        return body.sign(self.genesis.spec.hash, (seed,))


class Networks(Protocol):
    """Makes networks that are stopped when the test is over."""

    def __call__(self, members: int = 4, joiners: int = 0, parameters: ChainParameters = DEV_PARAMETERS) -> CoreNetwork:
        """Return a network that is not started yet."""
        ...
