"""The charging contract's part for operators: who they are, their tariffs and their stations."""

from dataclasses import replace
from typing import Final

from ledger.errors import BadEncodingError
from ledger.policy import format_address
from vm.contract import Address, Bytes32, Context, Contract, Map, read, require, write
from vm.contracts.asset import Asset, has_keys
from vm.contracts.charging_events import (
    OperatorChanged,
    OperatorRegistered,
    StationInvited,
    StationRegistered,
    StationSwitched,
    TariffPublished,
    TariffSet,
)
from vm.contracts.charging_parties import Operator, OperatorId, PartyName, Station, is_operator_id
from vm.contracts.charging_types import ChargingError, StationId, TariffTerms
from vm.errors import ContractError

REFUNDS: Final = "charging refunds"
COMPONENT_GAS: Final = 6_000
"""For each price component of a tariff as it was published: reading it, checking it and hashing it."""


class Operators(Contract):
    """Operators, tariffs and stations."""

    operators: Map[Address, Operator]
    operator_ids: Map[OperatorId, Address]
    mandates: Map[Address, Bytes32]  # of everybody who may have to give money back
    tariffs: Map[Bytes32, TariffTerms]
    prices: Map[Bytes32, TariffTerms]  # the tariffs without what never applies: what was published besides costs nothing
    stations: Map[Address, Station]
    invitations: Map[tuple[Address, Address], Station]  # by station and operator

    @write
    def register_operator(
        self, ctx: Context, operator_id: OperatorId, name: PartyName, payout: Address, arbiter: Address
    ) -> None:
        """Make the caller an operator, and let refunds that an arbiter decides be drawn from its account.

        Errors: OPERATOR_EXISTS, BAD_OPERATOR_ID, OPERATOR_ID_TAKEN, BAD_RECIPIENT, BAD_ARBITER. Emits OperatorRegistered.

        Args:
            operator_id: country and party, like DE*DTC
            payout: receives its money; may be the caller
            arbiter: decides disputes of the sessions that are authorized from now on
        """
        require(ctx.sender not in self.operators, ChargingError.OPERATOR_EXISTS)
        require(is_operator_id(operator_id), ChargingError.BAD_OPERATOR_ID)
        require(operator_id not in self.operator_ids, ChargingError.OPERATOR_ID_TAKEN)
        operator = Operator(operator_id, name, payout, arbiter)
        _check_operator(ctx.sender, operator)
        self._grant_mandate(ctx)
        self.operator_ids[operator_id] = ctx.sender
        self.operators[ctx.sender] = operator
        ctx.emit(OperatorRegistered(ctx.sender, operator_id, name, payout, arbiter))

    @write
    def change_operator(self, ctx: Context, name: PartyName, payout: Address, arbiter: Address) -> None:
        """Change what the calling operator says of itself. What was authorized before keeps its payout account and its arbiter.

        Errors: UNKNOWN_OPERATOR, BAD_RECIPIENT, BAD_ARBITER. Emits OperatorChanged.
        """
        known = self.operators.require(ctx.sender, ChargingError.UNKNOWN_OPERATOR)
        operator = replace(known, name=name, payout=payout, arbiter=arbiter)
        _check_operator(ctx.sender, operator)
        self.operators[ctx.sender] = operator
        ctx.emit(OperatorChanged(ctx.sender, name, payout, arbiter))

    @write
    def publish_tariff(self, ctx: Context, tariff: TariffTerms) -> Bytes32:
        """Publish a tariff, for good and for anybody's stations. Returns its id, the hash of its terms; twice is as once.

        Errors: BAD_TARIFF. Emits TariffPublished.
        """
        ctx.charge(COMPONENT_GAS * (tariff.component_count + tariff.restricted_count))
        tariff_id = tariff.tariff_id()
        if tariff_id in self.prices:
            return tariff_id
        require(bool(tariff.preauthorize), ChargingError.BAD_TARIFF, problem="it must state what is preauthorized")
        try:
            tariff.check()
        except BadEncodingError as error:
            raise ContractError(ChargingError.BAD_TARIFF, problem=error.message) from error
        self.tariffs[tariff_id] = tariff
        self.prices[tariff_id] = tariff.flattened()
        ctx.emit(TariffPublished(tariff_id, tariff.label))
        return tariff_id

    @write
    def add_station(
        self, ctx: Context, station: Address, station_id: StationId, tariff_id: Bytes32, payout: Address | None
    ) -> None:
        """Make an account a station of the calling operator; it signs its reports.

        Errors: UNKNOWN_OPERATOR, STATION_EXISTS, UNKNOWN_TARIFF, BAD_RECIPIENT. Emits StationRegistered.

        Args:
            station_id: the operator's own id of it
            payout: receives its money instead of the operator's payout account
        """
        require(station not in self.stations, ChargingError.STATION_EXISTS)
        self._put_station(ctx, station, self._checked_station(ctx, station_id, tariff_id, payout))

    @write
    def invite_station(
        self, ctx: Context, station: Address, station_id: StationId, tariff_id: Bytes32, payout: Address | None
    ) -> None:
        """Let an account register itself as a station of the calling operator, as it is said here.

        Errors: UNKNOWN_OPERATOR, UNKNOWN_TARIFF, BAD_RECIPIENT. Emits StationInvited.
        """
        self.invitations[station, ctx.sender] = self._checked_station(ctx, station_id, tariff_id, payout)
        ctx.emit(StationInvited(station, station_id, ctx.sender, tariff_id))

    @write
    def register_station(self, ctx: Context, station_id: StationId, operator: Address, tariff_id: Bytes32) -> None:
        """Make the caller a station of an operator that invited it so. One that was another's leaves that one.

        Sessions that were authorized before stay with the operator they had. Errors: NOT_INVITED. Emits StationRegistered.
        """
        invited = self.invitations.require((ctx.sender, operator), ChargingError.NOT_INVITED)
        as_invited = (station_id, tariff_id) == (invited.station_id, invited.tariff_id)
        require(as_invited, ChargingError.NOT_INVITED, station_id=invited.station_id, tariff_id=invited.tariff_id.hex())
        self._put_station(ctx, ctx.sender, invited)

    @write
    def set_tariff(self, ctx: Context, station: Address, tariff_id: Bytes32) -> None:
        """Let a station offer another tariff; only its operator may. What was authorized before keeps its own.

        Errors: UNKNOWN_STATION, NOT_PERMITTED, UNKNOWN_TARIFF. Emits TariffSet.
        """
        found = self._own_station(ctx, station)
        require(tariff_id in self.prices, ChargingError.UNKNOWN_TARIFF)
        self.stations[station] = replace(found, tariff_id=tariff_id)
        ctx.emit(TariffSet(station, tariff_id))

    @write
    def switch_station(self, ctx: Context, station: Address, enabled: bool) -> None:
        """Let a station take new sessions, or none; only its operator may. Sessions that were authorized go on.

        Errors: UNKNOWN_STATION, NOT_PERMITTED. Emits StationSwitched.
        """
        self.stations[station] = replace(self._own_station(ctx, station), enabled=enabled)
        ctx.emit(StationSwitched(station, enabled))

    @read
    def operator(self, address: Address) -> Operator:
        """Return an operator. Errors: UNKNOWN_OPERATOR."""
        return self.operators.require(address, ChargingError.UNKNOWN_OPERATOR)

    @read
    def operator_account(self, operator_id: OperatorId) -> Address:
        """Return the account of the operator with an id. Errors: UNKNOWN_OPERATOR."""
        return self.operator_ids.require(operator_id, ChargingError.UNKNOWN_OPERATOR)

    @read
    def station(self, address: Address) -> Station:
        """Return a station. Errors: UNKNOWN_STATION."""
        return self.stations.require(address, ChargingError.UNKNOWN_STATION)

    @read
    def tariff(self, ctx: Context, tariff_id: Bytes32) -> TariffTerms:
        """Return a published tariff. Errors: UNKNOWN_TARIFF."""
        found = self.tariffs.require(tariff_id, ChargingError.UNKNOWN_TARIFF)
        ctx.charge(COMPONENT_GAS * (found.component_count + found.restricted_count))
        return found

    # ---- inside

    def _checked_station(self, ctx: Context, station_id: str, tariff_id: bytes, payout: Address | None) -> Station:
        """Return the calling operator's station of these values."""
        require(ctx.sender in self.operators, ChargingError.UNKNOWN_OPERATOR)
        require(tariff_id in self.prices, ChargingError.UNKNOWN_TARIFF)
        if payout is not None:
            check_payee(payout)
        return Station(station_id, ctx.sender, tariff_id, payout)

    def _put_station(self, ctx: Context, address: Address, station: Station) -> None:
        """Keep a new station; an invitation by its operator is over with that."""
        self.stations[address] = station
        del self.invitations[address, station.operator]
        ctx.emit(StationRegistered(address, station.station_id, station.operator, station.tariff_id))

    def _own_station(self, ctx: Context, address: Address) -> Station:
        found = self.stations.require(address, ChargingError.UNKNOWN_STATION)
        require(found.operator == ctx.sender, ChargingError.NOT_PERMITTED)
        return found

    def _grant_mandate(self, ctx: Context) -> None:
        """Let this contract draw the refunds that the caller will owe."""
        if ctx.sender not in self.mandates:
            self.mandates[ctx.sender] = ctx.call(Asset.grant, ctx.sender, REFUNDS)


def check_payee(account: Address) -> None:
    """Fail the call unless somebody could spend what this account receives."""
    require(has_keys(account), ChargingError.BAD_RECIPIENT, account=format_address(account))


def _check_operator(account: Address, operator: Operator) -> None:
    check_payee(operator.payout)
    apart = operator.arbiter not in (account, operator.payout)
    require(has_keys(operator.arbiter) and apart, ChargingError.BAD_ARBITER, account=format_address(operator.arbiter))
