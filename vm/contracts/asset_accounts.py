"""The accounts that the asset contract keeps, and every way in which money enters, leaves and changes its state in them."""

from dataclasses import replace
from typing import Final

from ledger.policy import CONTRACT_ACCOUNT, KEY_ACCOUNT, format_address
from vm.context import NOBODY
from vm.contract import Address, Context, Contract, Map, Motes, require
from vm.contracts.asset_events import Sent, Transferred
from vm.contracts.asset_types import DATR, NAME, Account, AssetError, Balance, Freeze, Payment, Symbol
from vm.errors import ContractError
from vm.storage import storage_key

NOTHING: Final = Account(Motes(0), Motes(0), Motes(0), frozen=False)


class Accounts(Contract):
    """Accounts by asset and address, and how much there is of each asset."""

    accounts: Map[tuple[Symbol, Address], Account]
    freezes: Map[tuple[Symbol, Address], Freeze]
    supplies: Map[Symbol, Motes]

    def _pay(self, ctx: Context, symbol: str, payer: Address, to: Address, amount: Motes) -> None:
        """Send free money of `payer` as the caller asks, with the event of its asset."""
        require(amount > 0, AssetError.BAD_AMOUNT, amount=amount)
        require_recipient(ctx, to)
        self._take(symbol, payer, amount)
        self._give(symbol, to, amount)
        ctx.emit(_payment(symbol, payer, to, amount))

    def _pay_all(self, ctx: Context, symbol: str, payments: tuple[Payment, ...]) -> None:
        """Send free money of the caller to many: its account is written once."""
        for payment in payments:
            require(payment.amount > 0, AssetError.BAD_AMOUNT, amount=payment.amount)
            require_recipient(ctx, payment.to)
        self._take(symbol, ctx.sender, sum(payment.amount for payment in payments))
        for payment in payments:
            self._give(symbol, payment.to, payment.amount)
            ctx.emit(_payment(symbol, ctx.sender, payment.to, payment.amount))

    def _account(self, symbol: str, owner: Address) -> Account:
        return self.accounts.get((symbol, owner), NOTHING)

    def _balance(self, symbol: str, owner: Address) -> Balance:
        account = self._account(symbol, owner)
        return Balance(account.free, account.held, account.locked)

    def _check_not_frozen(self, symbol: str, owner: Address) -> None:
        _check_spendable(symbol, self._account(symbol, owner), owner, 0)

    def _take(self, symbol: str, owner: Address, amount: int) -> None:
        """Take free money out of an account. Raises `ContractError` FROZEN, INSUFFICIENT_FUNDS."""
        account = self.accounts.get((symbol, owner), NOTHING)
        _check_spendable(symbol, account, owner, amount)
        self._put(symbol, owner, Account(Motes(account.free - amount), account.held, account.locked, account.frozen))

    def _give(self, symbol: str, owner: Address, amount: int) -> None:
        account = self.accounts.get((symbol, owner), NOTHING)
        self.accounts[symbol, owner] = Account(Motes(account.free + amount), account.held, account.locked, account.frozen)

    def _set_aside(self, symbol: str, owner: Address, amount: int) -> None:
        """Make free money held. Raises `ContractError` FROZEN, INSUFFICIENT_FUNDS."""
        account = self._account(symbol, owner)
        _check_spendable(symbol, account, owner, amount)
        self._put(symbol, owner, replace(account, free=Motes(account.free - amount), held=Motes(account.held + amount)))

    def _shift(self, symbol: str, owner: Address, *, free: int = 0, held: int = 0, locked: int = 0) -> None:
        """Change the parts of an account, also of a frozen one, by amounts that its holds and locks are known to cover."""
        old = self._account(symbol, owner)
        new = Account(Motes(old.free + free), Motes(old.held + held), Motes(old.locked + locked), old.frozen)
        self._put(symbol, owner, new)

    def _put(self, symbol: str, owner: Address, account: Account) -> None:
        """Store an account: those without money leave the state, unless they are frozen."""
        if account == NOTHING:
            del self.accounts[symbol, owner]
        else:
            self.accounts[symbol, owner] = account

    # ---- for the runtime

    def reserve_fee(self, payer: Address, amount: int) -> None:
        """Take what a transaction's gas may cost out of `payer`'s free money, frozen or not.

        Raises `ContractError` INSUFFICIENT_FUNDS.
        """
        account = self._account(DATR, payer)
        _check_covered(DATR, account, payer, amount)
        self._put(DATR, payer, replace(account, free=Motes(account.free - amount)))

    def pay_fee(self, account: Address, amount: int) -> None:
        """Put reserved gas money into an account: the unused part back to its payer, the fees to the fee account."""
        self._give(DATR, account, amount)


def has_keys(address: Address) -> bool:
    """Return whether signatures can spend what this account receives: not a contract's account, and not the zero-filled one."""
    return address[0] == KEY_ACCOUNT and address != NOBODY


def require_recipient(ctx: Context, to: Address) -> None:
    """Refuse a slip of the hand that would lose money for ever; a contract knows which contracts it may pay."""
    between_contracts = ctx.sender[0] == to[0] == CONTRACT_ACCOUNT
    require(has_keys(to) or between_contracts, AssetError.BAD_RECIPIENT, account=format_address(to))


def require_purpose(purpose: str) -> None:
    """Refuse a purpose of nothing but spaces; the type refuses an empty one."""
    require(bool(purpose.strip(" ")), AssetError.NO_PURPOSE)


def balance_key(address: Address) -> bytes:
    """Return the state key of an account's DATR balance: what a balance proof is asked for."""
    return storage_key(NAME, "accounts", (DATR, address))


def _check_spendable(symbol: str, account: Account, owner: Address, amount: int) -> None:
    if account.frozen:
        raise ContractError(AssetError.FROZEN, account=format_address(owner))
    _check_covered(symbol, account, owner, amount)


def _check_covered(symbol: str, account: Account, owner: Address, amount: int) -> None:
    if account.free < amount:
        whose: dict[str, int | str] = {"symbol": symbol, "account": format_address(owner)}
        raise ContractError(AssetError.INSUFFICIENT_FUNDS, **whose, need=amount, have=account.free)


def _payment(symbol: str, payer: Address, to: Address, amount: Motes) -> Transferred | Sent:
    return Transferred(payer, to, amount) if symbol == DATR else Sent(symbol, payer, to, amount)
