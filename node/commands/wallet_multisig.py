"""`datacar wallet multisig`: accounts of several keys. Their holders sign a file one after the other; that needs no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from datacar import on_demand
from datacar.client import Client
from datacar.failures import offline_money
from datacar.human import load_json, read_call
from datacar.multisig import BadFileError, Multisig, NotASignerError, PendingTransaction
from datacar.transactions import ChainInfo
from datacar.units import MOMENT_MS, BadValueError, read_number
from ledger.crypto import PUBLIC_KEY_BYTES
from ledger.errors import BadEncodingError, InvalidInputError
from ledger.policy import MAX_POLICY_KEYS
from ledger.transaction import MAX_CALLS, Call, Transaction
from node.commands import wallet_files
from node.commands.agreement import ASSET, Cost, agree, check_can_ask
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, connect
from node.commands.contract_call import lookup_of
from node.commands.contract_sender import (
    check_new,
    print_pending,
    read_sender,
    read_text_file,
    write_pending,
)
from node.commands.contract_view import View, money_of
from node.commands.delivery import deliver
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_line, print_pairs, progress
from node.commands.sending_options import (
    DEFAULT_WALLET,
    GasLimit,
    KeyFile,
    PasswordFile,
    TxReference,
    WalletName,
    Yes,
    check_name,
)

app = typer.Typer(
    help="Accounts of several keys: their holders sign one after the other.", no_args_is_help=True, add_completion=False
)


def _existing(text: str, name: str = "FILE") -> Any:
    return typer.Argument(metavar=name, exists=True, dir_okay=False, help=text, show_default=False)


PolicyFile = Annotated[Path, _existing("The account's file, as `multisig new` wrote it.", "ACCOUNT")]
PendingFile = Annotated[Path, _existing("The transaction's file, as `multisig build` wrote it.")]


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="The wallet's name.", parser=usage(check_name))] = DEFAULT_WALLET,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Print a wallet's public key: what makes it one of an account's signers. It is no secret."""
    sender = read_sender(name, None, None, password_file)
    public_key = "0x" + sender.policy.keys[0].hex()
    print_json({"name": name, "public_key": public_key}) if as_json else print_line(public_key)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="ACCOUNT", help="The file to write.", show_default=False)],
    threshold: Annotated[int, typer.Option("--threshold", min=1, max=MAX_POLICY_KEYS, help="How many of the keys must sign.")],
    signer: Annotated[
        list[str],
        typer.Option("--signer", metavar="0xKEY|WALLET", help="A public key, or a wallet here. Give it once for each key."),
    ],
    as_json: Json = False,
) -> None:
    """Make an account that any THRESHOLD of some keys control, and write its file. Nothing happens on the chain."""
    try:
        account = Multisig.of(threshold, [_public_key(text) for text in signer])
    except InvalidInputError as error:
        raise typer.BadParameter(error.message, param_hint="--threshold / --signer") from error
    with file.open("x", encoding="utf-8") as stream:
        stream.write(account.to_text())
    _show_account(account, as_json=as_json)


def _public_key(text: str) -> bytes:
    """Return a signer's public key, written 0x... or as the name of a wallet here."""
    if not text.startswith("0x"):
        found = wallet_files.look(check_name(text))
        if not found.public_key:
            hint = f"`datacar wallet multisig key {text}` prints it"
            raise BadEncodingError(f"the file of wallet {text} does not name its public key", hint=hint)
        text = found.public_key
    try:
        public_key = bytes.fromhex(text[2:])
    except ValueError:
        public_key = b""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise typer.BadParameter(f"a public key is 0x and {2 * PUBLIC_KEY_BYTES} hex digits", param_hint="--signer")
    return public_key


def _show_account(account: Multisig, *, as_json: bool) -> None:
    policy, keys = account.policy, ["0x" + key.hex() for key in account.policy.keys]
    if as_json:
        print_json({"address": account.address, "threshold": policy.threshold, "keys": keys})
        return
    print_pairs({"address": account.address, "threshold": f"{policy.threshold} of {len(keys)}"})
    for public_key in keys:
        print_line(f"key  {public_key}{_owner(public_key)}")


def _owner(public_key: str) -> str:
    """Return the wallet here that a key is of, as a remark."""
    names = [each.name for each in wallet_files.readable() if each.public_key == public_key]
    return f" (wallet {names[0]})" if names else ""


@app.command()
def show(
    file: Annotated[Path, _existing("An account's or a transaction's file.")],
    as_json: Json = False,
) -> None:
    """Show what an account or a transaction is, who has signed and who has not. Works offline."""
    text = read_text_file(file)
    try:
        account = Multisig.from_text(text)
    except BadFileError:
        pending = PendingTransaction.from_text(text)
    else:
        _show_account(account, as_json=as_json)
        return
    if not as_json:
        _describe(pending)
        for public_key in pending.body.policy.keys:
            shown, has_signed = "0x" + public_key.hex(), public_key in pending.signed_by
            print_line(f"key  {shown}{_owner(shown)}: {'signed' if has_signed else 'has not signed'}")
    print_pending(file, pending, as_json=as_json)


def _describe(pending: PendingTransaction) -> None:
    """Say on stderr what a transaction does, as far as can be known without asking a node."""
    view = View.of(on_demand.default_registry(), offline_money, pending.body.policy.address)
    progress(f"{pending.multisig.address} calls, on the chain 0x{pending.genesis_hash.hex()},")
    for line in (line for call in pending.body.calls for line in view.call_lines(call)):
        progress(line)
    if pending.body.reference:
        progress(f"reference: {pending.body.reference}")
    until = MOMENT_MS.show(pending.body.valid_until_ms)
    progress(f"gas: at most {pending.body.gas_limit:,}, at the chain's price; it can be sent until {until}")


@app.command()
def build(
    account: PolicyFile,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file to write, for the signers.")],
    to: Annotated[str | None, typer.Option("--to", metavar="ADDRESS|WALLET", help="Who receives a transfer.")] = None,
    amount: Annotated[str | None, typer.Option("--amount", metavar="DATR", help="How much is transferred.")] = None,
    call: Annotated[
        list[str] | None,
        typer.Option(
            "--call", metavar="JSON", help='Any call: {"contract": ..., "method": ..., "args": {...}}. May be given again.'
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="Until when it can be sent, such as +30min; nearly the chain's window."),
    ] = None,
    gas_limit: GasLimit = None,
    tx_reference: TxReference = "",
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Write a transaction of the account for its keys to sign: a transfer, or any calls. Shows what it would do now.

    The command of any method does the same: `datacar GROUP METHOD ... --multisig ACCOUNT --out FILE`.
    """
    check_new(out)
    multisig, registry = Multisig.from_text(read_text_file(account)), on_demand.default_registry()
    with connect(rpc, timeout) as client:
        calls = _calls(client, to, amount, call or [])
        chain = client.chain_info()
        valid_until_ms = None if expires is None else _expiry(expires, chain)
        view = View.of(registry, money_of(client), multisig.policy.address)
        with view.explaining(calls):
            found = client.simulate(multisig.policy, calls, gas_limit=gas_limit)
        progress(f"{multisig.address} calls")
        for line in view.summary(calls, found, Cost.ask(client, multisig.address, found)):
            progress(line)
        pending = multisig.build(chain, calls, gas_limit=found.gas_limit, reference=tx_reference, valid_until_ms=valid_until_ms)
    write_pending(out, pending, registry, as_json=as_json)


def _calls(client: Client, to: str | None, amount: str | None, texts: Sequence[str]) -> list[Call]:
    """Return the calls that the options name. Raises a usage error for none, too many, or what cannot be read."""
    if (to is None) != (amount is None):
        raise typer.BadParameter("a transfer needs both", param_hint="--to / --amount")
    if not 1 <= (to is not None) + len(texts) <= MAX_CALLS:
        raise typer.BadParameter(f"give 1 to {MAX_CALLS} calls", param_hint="--to / --call")
    lookup = lookup_of(client, on_demand.default_registry())
    transfer = {"contract": ASSET, "method": on_demand.Asset.transfer.__name__, "args": {"to": to, "amount": amount}}
    try:
        return [read_call(each, lookup) for each in [*([transfer] if to else []), *map(load_json, texts)]]
    except BadValueError as error:
        raise typer.BadParameter(f"{error.message} ({error.hint})", param_hint="--to / --amount / --call") from error


def _expiry(text: str, chain: ChainInfo) -> int:
    """Return until when a transaction can be sent, Unix ms. Raises a usage error for a time that the chain does not allow."""
    now, end = chain.timestamp_ms, chain.timestamp_ms + chain.tx_window_ms
    try:
        return read_number(MOMENT_MS, text, now, end, lambda: now)
    except BadValueError as error:
        raise typer.BadParameter(f"{error.message} ({error.hint})", param_hint="--expires") from error


@app.command()
def sign(
    file: PendingFile,
    wallet: WalletName = None,
    key: KeyFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file to write; the same one if not given.")
    ] = None,
    password_file: PasswordFile = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Add a signature to a transaction's file, after showing what it does. Works offline."""
    check_new(out)
    pending = PendingTransaction.from_text(read_text_file(file))
    sender = read_sender(wallet, key, None, password_file)
    [public_key] = sender.policy.keys
    if public_key not in pending.body.policy.keys:
        raise NotASignerError(public_key, pending.multisig.address)
    _describe(pending)
    check_can_ask(yes=yes)  # after it was shown: nothing was asked of anybody, and nothing leaves this machine
    agree(f"Sign it as {sender.name}?", yes=yes)
    write_pending(out or file, pending.sign(sender.wallet()), on_demand.default_registry(), as_json=as_json)


@app.command()
def combine(
    files: Annotated[list[Path], _existing("Files of one transaction that different keys signed.", "FILES")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file to write.")],
    as_json: Json = False,
) -> None:
    """Put the signatures of several files of one transaction into one file. Works offline."""
    check_new(out)
    first, *others = [PendingTransaction.from_text(read_text_file(file)) for file in files]
    write_pending(out, first.combine(*others), on_demand.default_registry(), as_json=as_json)


@app.command()
def send(
    file: PendingFile, yes: Yes = False, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False
) -> None:
    """Send a transaction that enough keys have signed, and wait until it is final. Sending it again is safe.

    Exit codes: 0 succeeded, 3 nothing was sent, 4 refused, failed or expired, 5 the outcome is not known yet.
    """
    pending = PendingTransaction.from_text(read_text_file(file))
    transaction = pending.transaction()
    check_can_ask(yes=yes)
    if not yes:
        _describe(pending)
    with connect(rpc, timeout) as client:
        Transaction.from_raw(transaction.raw, client.chain_info().genesis_hash)  # one for another chain is not sent
        agree("Send it?", yes=yes)
        view, calls = View.of(on_demand.default_registry(), money_of(client), transaction.sender), transaction.body.calls
        with view.explaining(calls):
            view.print_receipt(calls, deliver(client, transaction), as_json=as_json)
