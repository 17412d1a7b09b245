"""Genesis: one specification, one hash, one first state; files that are refused say where they are wrong."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from genesis import presets
from genesis.arguments import governance_accounts, governance_arguments
from genesis.block import make_genesis_block
from genesis.certificates import check_certificate, make_certificate
from genesis.network import KeySource, make_committee, make_node_keys, node_names
from genesis.spec import GenesisError, GenesisSpec
from genesis.spec_json import GenesisFieldError, record_from_json, record_to_json, spec_from_json, spec_to_json
from ledger.codec import decode, encode
from ledger.crypto import public_key
from ledger.errors import BadEncodingError, DatacarError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.list_root import list_root
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy, format_address
from ledger.types import MOTES_PER_DATR, Address, Height, MemberId, Motes, View
from vm.context import NOBODY, BlockContext
from vm.contracts.asset import SUPPLY, Category
from vm.contracts.governance_state import Membership, read_membership, touches_membership
from vm.executor import Executor
from vm.gas import UNLIMITED
from vm.registry import default_registry

TIME_MS = 1_735_689_600_000  # 2025-01-01


def account(source: KeySource, label: str) -> Address:
    return KeyPolicy.single(public_key(source.secret(label))).address


def make_spec(seed: str = "a", count: int = 4, **changes: Any) -> GenesisSpec:
    source = KeySource.from_seed(seed)
    holders = presets.Holders(*(account(source, name) for name in ("technology", "operation", "foundation", "mining")))
    ido = presets.dev_ido([account(source, "test")], account(source, "faucet"))
    members = [make_node_keys(source, name, f"127.0.0.1:{26656 + at}").member for at, name in enumerate(node_names(count))]
    spec = GenesisSpec(
        chain_id="test",
        timestamp_ms=TIME_MS,
        development=True,
        parameters=ChainParameters(),
        committee=make_committee(members),
        contracts={
            **presets.contract_arguments(presets.distribution(holders, ido, TIME_MS)),
            **governance_arguments({member.id: account(source, f"{member.id}/governance") for member in members}),
        },
    )
    return replace(spec, **changes)


class TestSpec:
    def test_hash_is_the_tagged_digest_of_the_canonical_bytes(self) -> None:
        spec = make_spec()
        data = encode(spec.to_value())
        assert decode(data) == spec.to_value()
        assert spec.hash == digest(Tag.GENESIS, ZERO_HASH, data)

    @pytest.mark.parametrize(
        "changes",
        [{"chain_id": "other"}, {"timestamp_ms": TIME_MS + 1}, {"development": False}, {"parameters": presets.DEV_PARAMETERS}],
        ids=str,
    )
    def test_every_field_moves_the_hash(self, changes: dict[str, Any]) -> None:
        assert make_spec(**changes).hash != make_spec().hash

    def test_members_and_money_move_the_hash(self) -> None:
        hashes = {make_spec().hash, make_spec("b").hash, make_spec(count=5).hash, make_spec(contracts={}).hash}
        assert len(hashes) == 4

    def test_members_that_could_not_vote_or_be_reached_are_refused(self) -> None:
        first, *others = make_spec().committee.members
        with pytest.raises(GenesisError, match="no valid Ed25519 key"):
            make_spec(committee=make_committee([replace(first, public_key=bytes(32)), *others]))
        with pytest.raises(GenesisError, match="another member's address"):
            make_spec(committee=make_committee([replace(first, p2p_address=others[0].p2p_address), *others]))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("block_max_transactions", 2_001),
            ("block_max_bytes", 2**26),
            ("block_max_gas", 9),
            ("tx_window_ms", 1),
            ("base_timeout_ms", 9_999),
            ("gas_price_motes", 2**53),
            ("heartbeat_ms", 0),
        ],
    )
    def test_parameters_no_chain_can_run_with_are_refused_by_name(self, name: str, value: int) -> None:
        data = replace(ChainParameters(), **{name: value}).to_value()
        with pytest.raises(BadEncodingError, match=name):
            ChainParameters.from_value(data)

    @pytest.mark.parametrize("chain_id", ["", "Upper", "-x", "x-", "a" * 33, "a b", "ä"])
    def test_bad_chain_ids_are_refused(self, chain_id: str) -> None:
        with pytest.raises(GenesisError, match=r"\$\.chain_id"):
            make_spec(chain_id=chain_id)

    @pytest.mark.parametrize("timestamp_ms", [0, -1, 2**53 + 1])
    def test_bad_times_are_refused(self, timestamp_ms: int) -> None:
        with pytest.raises(GenesisError, match=r"\$\.timestamp_ms"):
            make_spec(timestamp_ms=timestamp_ms)


class TestFile:
    def test_round_trip_keeps_everything(self) -> None:
        spec = make_spec()
        text = spec_to_json(spec)
        found = spec_from_json(text)
        assert found == spec
        assert found.hash == spec.hash
        assert spec_to_json(found) == text

    def test_layout_of_the_file_does_not_matter(self) -> None:
        spec = make_spec()
        document = json.loads(spec_to_json(spec))
        assert spec_from_json(json.dumps(dict(reversed(document.items())), separators=(",", ":"))).hash == spec.hash

    def test_member_record_round_trip(self) -> None:
        keys = make_node_keys(KeySource.from_seed("a"), MemberId("node1"), "127.0.0.1:26656")
        record = record_to_json(keys.member, keys.account, keys.possession)
        assert record_from_json(json.dumps(record)) == (keys.member, keys.account, keys.possession)
        del record["possession"]
        assert record_from_json(json.dumps(record)) == (keys.member, keys.account, None)
        del record["account"]
        assert record_from_json(json.dumps(record)) == (keys.member, None, None)

    def test_a_record_with_another_s_key_is_refused(self) -> None:
        """Whoever copies a public key into its own record has no signature by it."""
        mine, other = (make_node_keys(KeySource.from_seed(seed), MemberId("node1"), "h:1") for seed in ("a", "b"))
        stolen = replace(mine.member, public_key=other.member.public_key)
        for possession in (mine.possession, other.possession):
            with pytest.raises(GenesisFieldError, match=r"\$\.possession"):
                record_from_json(json.dumps(record_to_json(stolen, mine.account, possession)))

    @pytest.mark.parametrize(
        ("path", "value", "where"),
        [
            (("extra",), 1, r"\$: unknown field"),
            (("development",), 1, r"\$\.development: must be true or false"),
            (("timestamp_ms",), 1.5, r"\$\.timestamp_ms"),
            (("timestamp_ms",), True, r"\$\.timestamp_ms"),
            (("parameters", "heartbeat_ms"), 0, r"\$\.parameters: heartbeat_ms"),
            (("parameters", "hartbeat_ms"), 5, r"\$\.parameters: unknown field"),
            (("members",), [], r"\$\.members: must have 1\.\.256 items"),
            (("members", 1, "id"), "Node 2", r"\$\.members\[1\]\.id"),
            (("members", 1, "public_key"), "0x00", r"\$\.members\[1\]\.public_key: must have 32 bytes"),
            (("members", 1, "public_key"), "00" * 32, r"\$\.members\[1\]\.public_key: must be 0x"),
            (("members", 1, "p2p_address"), "localhost", r"\$\.members\[1\]\.p2p_address"),
            (("members", 1, "p2p_address"), "localhost:65536", r"\$\.members\[1\]\.p2p_address"),
            (("members", 0, "id"), "node9", r"\$\.members: committee members must be ascending"),
            (("contracts", "nope"), {}, r"\$\.contracts: unknown field"),
            (("contracts", "asset"), {}, r"\$\.contracts\.asset: must be an object with exactly allocations"),
            (
                ("contracts", "asset", "allocations", 0, "amount"),
                5,
                r"asset\.allocations\[0\]\.amount: expected motes",
            ),
            (("contracts", "asset", "allocations", 3, "address"), "datr1x", r"\$\.contracts\.asset\.allocations\[3\]\.address"),
            (("contracts", "asset", "allocations", 2, "schedule", "portion"), "-1", r"allocations\[2\]\.schedule\.portion"),
            (("contracts", "asset", "allocations", 2, "schedule"), {}, r"allocations\[2\]\.schedule: expected an object"),
        ],
    )
    def test_refusals_name_the_json_path(self, path: tuple[str | int, ...], value: object, where: str) -> None:
        document: Any = json.loads(spec_to_json(make_spec()))
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(DatacarError, match=where) as caught:
            spec_from_json(json.dumps(document))
        assert caught.value.reason == "bad_genesis"
        assert caught.value.hint

    @pytest.mark.parametrize("name", ["chain_id", "members", "contracts", "parameters"])
    def test_missing_fields_are_named(self, name: str) -> None:
        document = json.loads(spec_to_json(make_spec()))
        del document[name]
        with pytest.raises(DatacarError, match=f'field "{name}" is missing'):
            spec_from_json(json.dumps(document))

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"chain_id": "a", "chain_id": "b"}', '{"timestamp_ms": NaN}'])
    def test_what_is_no_such_json_is_refused(self, text: str) -> None:
        with pytest.raises(DatacarError, match=r"\$"):
            spec_from_json(text)

    def test_two_members_with_one_key_are_refused(self) -> None:
        document = json.loads(spec_to_json(make_spec()))
        document["members"][1]["public_key"] = document["members"][0]["public_key"]
        with pytest.raises(GenesisError, match="one key, one vote"):
            spec_from_json(json.dumps(document))


class TestBlock:
    def test_header_follows_from_the_specification_alone(self) -> None:
        spec = make_spec()
        block = make_genesis_block(spec)
        header, empty = block.header, list_root(spec.hash, ())
        assert (header.height, header.view, header.gas_used) == (0, 0, 0)
        assert header.parent_hash == spec.hash
        assert header.timestamp_ms == spec.timestamp_ms
        assert header.proposer == spec.committee.primary(View(0))
        assert header.transactions_root == header.receipts_root == empty
        assert header.committee_hash == header.next_committee_hash == spec.committee.hash(spec.hash)
        assert block.hash == header.hash(spec.hash)

    def test_every_member_makes_the_same_block_from_the_file(self) -> None:
        spec = make_spec()
        assert make_genesis_block(spec_from_json(spec_to_json(spec))) == make_genesis_block(spec)

    def test_state_holds_the_whole_supply(self) -> None:
        spec = make_spec()
        state = make_genesis_block(spec).state
        context = BlockContext(Height(0), TIME_MS, 0, NOBODY, UNLIMITED)
        executor = Executor(default_registry())
        assert executor.query(state, context, "asset", "supply", ()) == SUPPLY
        source = KeySource.from_seed("a")
        names = ("test", "faucet", "technology", "operation", "foundation", "mining")
        money: list[Any] = [executor.query(state, context, "asset", "balance_of", (account(source, name),)) for name in names]
        assert sum(sum(balance) for balance in money) == SUPPLY
        assert money[0] == (presets.DEV_ACCOUNT_MOTES, 0, 0)
        assert money[2] == (0, 0, 64_000_000 * MOTES_PER_DATR)

    def test_a_contract_that_refuses_its_parameters_is_named(self) -> None:
        with pytest.raises(GenesisError, match=r"\$\.contracts\.asset"):
            make_genesis_block(make_spec(contracts={}))


class TestDistribution:
    def test_parts_are_those_of_the_token_and_add_up(self) -> None:
        percents = {part.category: part.percent for part in presets.DISTRIBUTION}
        assert percents == {
            Category.IDO: 25,
            Category.TECHNOLOGY: 8,
            Category.OPERATION: 10,
            Category.FOUNDATION: 15,
            Category.MINING: 42,
        }
        assert sum(presets.part_motes(category) for category in percents) == SUPPLY == 800_000_000 * MOTES_PER_DATR

    def test_lock_terms(self) -> None:
        """Technology: 5 years, then 2 % of the total a year. Foundation: 4 years, then 1 % a quarter. The rest by decision."""
        holders = presets.Holders(*(Address(bytes([0, number]) + bytes(31)) for number in range(4)))
        ido = ((holders.mining, presets.part_motes(Category.IDO)),)
        parts = {item.category: item for item in presets.distribution(holders, ido, TIME_MS)}
        technology, foundation = parts[Category.TECHNOLOGY].schedule, parts[Category.FOUNDATION].schedule
        assert technology is not None
        assert foundation is not None
        assert technology.first_ms == datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000
        assert (technology.every_months, technology.portion) == (12, 16_000_000 * MOTES_PER_DATR)
        assert foundation.first_ms == datetime(2029, 1, 1, tzinfo=UTC).timestamp() * 1000
        assert (foundation.every_months, foundation.portion) == (3, 8_000_000 * MOTES_PER_DATR)
        assert parts[Category.OPERATION].authority == holders.foundation
        assert parts[Category.MINING].authority == holders.mining
        assert (parts[Category.IDO].schedule, parts[Category.IDO].authority) == (None, None)

    def test_an_ido_part_of_another_size_is_refused(self) -> None:
        holder = Address(bytes(33))
        with pytest.raises(GenesisError, match="IDO accounts must receive"):
            presets.distribution(presets.Holders(*(holder,) * 4), ((holder, Motes(1)),), TIME_MS)

    def test_carm_parts_and_its_teams_months(self) -> None:
        """10,000,000,000 units: 20, 15, 15, 15 and 35 %; the team's part comes in 24 equal months, the first after one."""
        addresses = [Address(bytes([0, number]) + bytes(31)) for number in range(5)]
        parts = presets.carm_distribution(presets.CarmHolders(*addresses), TIME_MS)
        assert [(item.address, item.amount * 100 // presets.CARM_SUPPLY) for item in parts] == list(
            zip(addresses, (20, 15, 15, 15, 35), strict=True)
        )
        assert sum(item.amount for item in parts) == presets.CARM_SUPPLY == 10**10 * 10**8
        [team] = [item for item in parts if item.schedule is not None]
        assert team.category is Category.TEAM
        assert team.schedule is not None
        assert team.schedule.first_ms == datetime(2025, 2, 1, tzinfo=UTC).timestamp() * 1000
        assert (team.schedule.every_months, team.schedule.portion * 24) == (1, team.amount)


class TestCertificates:
    def test_certificate_never_expires_and_names_the_member(self) -> None:
        der, key_pem = make_certificate(bytes(32), "node1")
        certificate = x509.load_der_x509_certificate(der)
        assert certificate.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
        assert b"99991231235959Z" in der
        assert certificate.subject == certificate.issuer == x509.Name.from_rfc4514_string("CN=node1")
        key = certificate.public_key()
        assert isinstance(key, Ed25519PublicKey)
        assert key.public_bytes_raw() == public_key(bytes(32))
        assert key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
        check_certificate(der, "node1")

    def test_same_seed_and_name_give_the_same_bytes(self) -> None:
        assert make_certificate(bytes(32), "a") == make_certificate(bytes(32), "a")
        assert make_certificate(bytes(32), "a") != make_certificate(b"\1" * 32, "a")

    def test_others_are_refused(self) -> None:
        der, _ = make_certificate(bytes(32), "node1")
        with pytest.raises(BadEncodingError, match="names node1 instead of node2"):
            check_certificate(der, "node2")
        with pytest.raises(BadEncodingError, match=r"not an X\.509 certificate"):
            check_certificate(der[:-1], "node1")


class TestNetwork:
    def test_a_seed_gives_the_same_network_and_another_one_another(self) -> None:
        assert make_spec("a").hash == make_spec("a").hash
        assert not set(make_spec("a").committee.members) & set(make_spec("b").committee.members)

    def test_random_sources_differ_and_show_no_secret(self) -> None:
        first, second = KeySource.random(), KeySource.random()
        assert first.secret("x") != second.secret("x")
        assert first.secret("x") != first.secret("y")
        keys = make_node_keys(first, MemberId("a"), "h:1")
        assert repr(first.root) not in repr(first)
        assert repr(keys.consensus_seed) not in repr(keys)

    @pytest.mark.parametrize("count", [1, 4, 9, 10, 100])
    def test_names_sort_as_they_count(self, count: int) -> None:
        names = node_names(count)
        assert len(set(names)) == count
        assert list(names) == sorted(names)

    def test_dev_faucet_gets_the_rest_of_the_free_part(self) -> None:
        accounts = [Address(bytes([0, number]) + bytes(31)) for number in range(1, 11)]
        faucet = Address(bytes(33))
        parts = presets.dev_ido(accounts, faucet)
        assert parts[-1] == (faucet, 190_000_000 * MOTES_PER_DATR)
        assert sum(amount for _, amount in parts) == presets.part_motes(Category.IDO)
        assert len({format_address(address) for address, _ in parts}) == 11


class TestMembership:
    """The contract's committee is the specification's: there is no second source of it."""

    @pytest.mark.parametrize("count", [1, 4, 7])
    @pytest.mark.parametrize("accounts", [True, False])
    def test_first_state_names_the_committee_of_the_specification(self, count: int, *, accounts: bool) -> None:
        spec = make_spec(count=count)
        if not accounts:
            spec = replace(spec, contracts={name: args for name, args in spec.contracts.items() if name != "governance"})
        state = make_genesis_block(spec).state
        assert read_membership(state) == Membership(spec.committee, (), ())
        assert touches_membership(state)

    def test_accounts_are_those_of_the_file(self) -> None:
        spec = spec_from_json(spec_to_json(make_spec()))
        source = KeySource.from_seed("a")
        expected = {member.id: account(source, f"{member.id}/governance") for member in spec.committee.members}
        assert governance_accounts(spec.contracts) == expected
        assert make_node_keys(source, MemberId("node1"), "h:1").account == expected[MemberId("node1")]

    @pytest.mark.parametrize(
        ("accounts", "code"),
        [
            ({"node9": "test"}, "UNKNOWN_MEMBER"),
            ({"node1": "test", "node2": "test"}, "ACCOUNT_TAKEN"),
            ({"node1": None}, "BAD_ACCOUNT"),
        ],
    )
    def test_accounts_that_could_not_vote_are_refused(self, accounts: dict[str, str | None], code: str) -> None:
        source, spec = KeySource.from_seed("a"), make_spec()
        named = {MemberId(name): NOBODY if of is None else account(source, of) for name, of in accounts.items()}
        with pytest.raises(GenesisError, match=r"\$\.contracts\.governance") as caught:
            make_genesis_block(replace(spec, contracts={**spec.contracts, **governance_arguments(named)}))
        assert caught.value.details["code"] == code

    def test_two_accounts_of_one_member_are_refused(self) -> None:
        source, spec = KeySource.from_seed("a"), make_spec()
        entries = tuple((MemberId("node1"), account(source, label)) for label in ("test", "faucet"))
        with pytest.raises(GenesisError, match="another member's"):
            make_genesis_block(replace(spec, contracts={**spec.contracts, "governance": (entries,)}))

    def test_a_specification_cannot_bring_another_committee(self) -> None:
        """The file's entry has no place for one."""
        document = json.loads(spec_to_json(make_spec()))
        document["contracts"]["governance"]["committee"] = []
        with pytest.raises(DatacarError, match=r"\$\.contracts\.governance: must be an object with exactly accounts"):
            spec_from_json(json.dumps(document))
