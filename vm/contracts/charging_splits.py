"""The charging contract's part for roaming: splits that an operator publishes and its partners accept."""

from dataclasses import replace

from vm.contract import U64, Address, Bytes32, Context, Map, read, require, write
from vm.contracts.charging_events import SplitAccepted, SplitEnded, SplitPublished
from vm.contracts.charging_operators import Operators, check_payee
from vm.contracts.charging_parties import WHOLE_E4, Share, Split
from vm.contracts.charging_types import ChargingError


class Splits(Operators):
    """Who is paid besides an operator."""

    splits: Map[Bytes32, Split]
    split_counts: Map[tuple[Address, Address], U64]  # by operator and provider: how many were published
    newest_agreed: Map[tuple[Address, Address], U64]  # the number of the last one that came into force: older ones are over
    agreed: Map[tuple[Address, Address], Bytes32]  # the split in force

    @write
    def publish_split(self, ctx: Context, provider: Share, supplier: Share | None) -> Bytes32:
        """Offer a split of what the calling operator's stations earn from a provider's drivers. Returns its id.

        It is in force when the provider, and the supplier if there is one, have accepted it; until then an earlier one is. From
        then on the earlier ones with this provider are over, whoever has accepted them.
        Errors: UNKNOWN_OPERATOR, BAD_RECIPIENT, BAD_SPLIT. Emits SplitPublished.
        """
        require(ctx.sender in self.operators, ChargingError.UNKNOWN_OPERATOR)
        pair = ctx.sender, provider.account
        number = self.split_counts.get(pair, 0) + 1
        split = Split(ctx.sender, provider, supplier, number, (), ended=False)
        accounts = [partner.account for partner in split.partners]
        for account in accounts:
            check_payee(account)
        total_e4 = sum(partner.share_e4 for partner in split.partners)
        different = len({ctx.sender, *accounts}) == len(accounts) + 1
        require(different and total_e4 <= WHOLE_E4, ChargingError.BAD_SPLIT, shares_e4=total_e4)
        split_id = ctx.new_id()
        self.split_counts[pair] = number
        self.splits[split_id] = split
        ctx.emit(SplitPublished(split_id, ctx.sender, provider, supplier))
        return split_id

    @write
    def accept_split(self, ctx: Context, split_id: Bytes32) -> None:
        """Agree to a split as one of its partners, and let refunds that an arbiter decides be drawn from the caller's account.

        Errors: UNKNOWN_SPLIT, SPLIT_ENDED, NOT_PERMITTED, ALREADY_ACCEPTED. Emits SplitAccepted.
        """
        split = self._open_split(split_id)
        require(any(partner.account == ctx.sender for partner in split.partners), ChargingError.NOT_PERMITTED)
        require(ctx.sender not in split.accepted, ChargingError.ALREADY_ACCEPTED)
        self._grant_mandate(ctx)
        split = replace(split, accepted=(*split.accepted, ctx.sender))
        self.splits[split_id] = split
        if split.in_force:
            pair = split.operator, split.provider.account
            self.agreed[pair], self.newest_agreed[pair] = split_id, split.number
        ctx.emit(SplitAccepted(split_id, ctx.sender, split.in_force))

    @write
    def end_split(self, ctx: Context, split_id: Bytes32) -> None:
        """End a split; its operator or a partner may. Sessions that were authorized under it are still paid by it.

        Errors: UNKNOWN_SPLIT, NOT_PERMITTED, SPLIT_ENDED. Emits SplitEnded.
        """
        split = self._open_split(split_id)
        parties = (split.operator, *(partner.account for partner in split.partners))
        require(ctx.sender in parties, ChargingError.NOT_PERMITTED)
        self.splits[split_id] = replace(split, ended=True)
        agreed = (split.operator, split.provider.account)
        if self.agreed.get(agreed) == split_id:
            del self.agreed[agreed]
        ctx.emit(SplitEnded(split_id, ctx.sender))

    @read
    def split(self, split_id: Bytes32) -> Split:
        """Return a split; one that a newer one has replaced is ended. Errors: UNKNOWN_SPLIT."""
        split = self.splits.require(split_id, ChargingError.UNKNOWN_SPLIT)
        return replace(split, ended=split.ended or split.number < self._newest(split))

    @read
    def split_in_force(self, operator: Address, provider: Address) -> Bytes32 | None:
        """Return the id of what an operator and a provider have agreed on; nothing: the operator receives all."""
        return self.agreed.get((operator, provider))

    # ---- inside

    def _open_split(self, split_id: bytes) -> Split:
        """Return a split that can still be agreed or ended."""
        split = self.splits.require(split_id, ChargingError.UNKNOWN_SPLIT)
        newest = self._newest(split)
        require(not split.ended and split.number >= newest, ChargingError.SPLIT_ENDED, number=split.number, newest=newest)
        return split

    def _newest(self, split: Split) -> int:
        """Return the number of the last of a pair's splits that came into force, 0 where none has."""
        return self.newest_agreed.get((split.operator, split.provider.account), 0)

    def _partners(self, split_id: bytes | None) -> tuple[Share, ...]:
        """Return who is paid besides the operator."""
        return () if split_id is None else self.splits[split_id].partners
