"""Accounts of new networks: words (BIP-39) and keys derived from the network's key source, and who receives what at genesis."""

from dataclasses import dataclass, field
from typing import Final

from mnemonic import Mnemonic

from datacar.amounts import format_motes
from datacar.keys import KeyPair, key_from_mnemonic, key_path
from genesis.network import KeySource
from genesis.presets import DEV_ACCOUNT_MOTES, DEV_ACCOUNTS, Holders, contract_arguments, dev_ido, distribution, part_motes
from ledger.codec import Value
from ledger.policy import KeyPolicy, format_address
from ledger.types import Address, Motes
from node.devnet import Blueprint, DevAccount
from vm.contracts.asset import Category

SEEDED_TIME_MS: Final = 1_735_689_600_000  # 2025-01-01: with --seed the genesis hash, too, is the same each time

_HELD: Final = (Category.TECHNOLOGY, Category.OPERATION, Category.FOUNDATION, Category.MINING)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account with its words, key and genesis amount."""

    mnemonic: str = field(repr=False)
    key: KeyPair = field(repr=False)
    motes: Motes

    @property
    def address(self) -> Address:
        """Return the account's address."""
        return KeyPolicy.single(self.key.public_key).address

    def shown(self) -> DevAccount:
        """Return what is written down and printed."""
        return DevAccount(format_address(self.address), self.mnemonic, key_path(), format_motes(self.motes))


def make_account(source: KeySource, label: str, motes: Motes) -> NewAccount:
    """Return the account that `label` stands for: 24 words, the key at the default path."""
    words = Mnemonic("english").to_mnemonic(source.secret(label))
    return NewAccount(words, key_from_mnemonic(words), motes)


def make_holders(source: KeySource) -> dict[Category, NewAccount]:
    """Return the accounts that hold the locked parts of the distribution."""
    return {category: make_account(source, f"holder/{category}", part_motes(category)) for category in _HELD}


def holders_of(accounts: dict[Category, NewAccount]) -> Holders:
    """Return the addresses of such accounts."""
    return Holders(*(accounts[category].address for category in _HELD))


def dev_contracts(
    accounts: list[NewAccount], faucet: Address, holders: dict[Category, NewAccount], timestamp_ms: int
) -> dict[str, tuple[Value, ...]]:
    """Return the genesis arguments of a development chain: the distribution, its free part to test accounts and a faucet."""
    ido = dev_ido([account.address for account in accounts], faucet)
    return contract_arguments(distribution(holders_of(holders), ido, timestamp_ms))


def dev_blueprint(node_count: int, seed: str | None, now_ms: int) -> Blueprint:
    """Return what a new development network is made from."""
    source = KeySource.random() if seed is None else KeySource.from_seed(seed)
    timestamp_ms = now_ms if seed is None else SEEDED_TIME_MS
    accounts = [make_account(source, f"account/{number}", DEV_ACCOUNT_MOTES) for number in range(1, DEV_ACCOUNTS + 1)]
    faucet = KeyPair.from_seed(source.secret("faucet"))
    holders = make_holders(source)
    return Blueprint(
        node_count=node_count,
        keys=source,
        timestamp_ms=timestamp_ms,
        contracts=dev_contracts(accounts, KeyPolicy.single(faucet.public_key).address, holders, timestamp_ms),
        accounts=tuple(account.shown() for account in accounts),
        holders=tuple(account.shown() for account in holders.values()),
        faucet_seed=faucet.seed,
        seed=seed,
    )
