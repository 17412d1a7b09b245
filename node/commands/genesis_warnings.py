"""What a genesis file allows and a chain should not start with: said by `datacar genesis`, forbidden by nobody."""

from collections.abc import Iterable
from pathlib import Path

from genesis.arguments import governance_accounts
from genesis.spec import GenesisSpec
from genesis.spec_json import Record
from ledger.committee import Committee
from ledger.policy import format_address
from vm.contracts.governance_rules import GAS_PER_CAP_MS, LEAST_CAP_MS
from vm.contracts.governance_state import deciding_vote_gas
from vm.gas import TRANSACTIONS_PER_BLOCK, max_gas_limit


def warnings_of(spec: GenesisSpec, records: Iterable[tuple[Path, Record]] = ()) -> list[str]:
    """Return what is wrong with a genesis that is valid, a sentence each; `records` are what members handed over."""
    said = [*size_warnings(spec.committee), *_of_gas(spec), *_of_times(spec), *_of_accounts(spec)]
    return said + [text for path, record in records for text in (*_of_record(path, record), *_of_difference(spec, path, record))]


def record_warnings(records: Iterable[tuple[Path, Record]]) -> list[str]:
    """Return what members' records lack."""
    return [text for path, record in records for text in _of_record(path, record)]


def size_warnings(committee: Committee) -> list[str]:
    """Return what a committee's size lacks."""
    if committee.faults:
        return []
    return [f"a committee of {committee.size} bears no fault: all of it must run; one of 4 bears one"]


def _of_gas(spec: GenesisSpec) -> list[str]:
    need, most = deciding_vote_gas(spec.committee.size), max_gas_limit(spec.parameters.block_max_gas)
    if need <= most:
        return []
    text = (
        f"{spec.committee.size} members may need {need} gas for the vote that decides, and a transaction has at most {most}: "
        f"set block_max_gas to {need * TRANSACTIONS_PER_BLOCK} or more, or they may never change who is a member"
    )
    return [text]


def _of_times(spec: GenesisSpec) -> list[str]:
    parameters = spec.parameters
    cap_ms, most = parameters.timeout_cap_ms, GAS_PER_CAP_MS * parameters.timeout_cap_ms
    said = []
    if cap_ms < LEAST_CAP_MS:
        said.append(
            f"timeout_cap_ms is {cap_ms}: a wide network cannot decide in so short views; set it to {LEAST_CAP_MS} or more"
        )
    if parameters.block_max_gas > most:
        said.append(
            f"a full block of {parameters.block_max_gas} gas may take longer than the longest view, {cap_ms} ms, "
            f"and then no block is decided: set block_max_gas to {most} or less, or timeout_cap_ms to "
            f"{-(-parameters.block_max_gas // GAS_PER_CAP_MS)} or more"
        )
    return said


def _of_accounts(spec: GenesisSpec) -> list[str]:
    accounts = governance_accounts(spec.contracts)
    lacking = [member.id for member in spec.committee.members if member.id not in accounts]
    if not lacking:
        return []
    return [f"{', '.join(lacking)}: no governance account, so no vote on any proposal; its record should name one"]


def _of_record(path: Path, record: Record) -> list[str]:
    if record.possession is not None:
        return []
    lacking = f"{path}: {record.member.id} does not prove that it holds its consensus key"
    return [f"{lacking}; have the record made anew by `datacar init` of this version"]


def _of_difference(spec: GenesisSpec, path: Path, record: Record) -> list[str]:
    member, account = record.member, governance_accounts(spec.contracts).get(record.member.id)
    found = next((item for item in spec.committee.members if item.id == member.id), None)
    if found is None:
        return [f"{path}: {member.id} is no member in this genesis file"]
    differing = [name for name in ("public_key", "certificate", "p2p_address") if getattr(found, name) != getattr(member, name)]
    if record.account != account:
        shown = "none" if account is None else format_address(account)
        differing.append(f"governance account (the file has {shown})")
    return [f"{path}: {member.id} is another one in this genesis file: {', '.join(differing)}"] if differing else []
