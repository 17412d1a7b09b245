"""`datacar wallet`: keys, balances and payments."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from datacar import on_demand
from datacar.amounts import format_motes, parse_datr
from datacar.keys import DEFAULT_WORDS
from datacar.wallet import Wallet
from ledger.errors import BadEncodingError
from ledger.policy import parse_address
from ledger.transaction import MAX_REFERENCE_CHARS, Call
from node.commands import wallet_files, wallet_multisig
from node.commands.account import show_account
from node.commands.agreement import ASSET, Cost, agree, check_can_ask
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, connect
from node.commands.contract_sender import read_sender
from node.commands.contract_view import View, money_of
from node.commands.delivery import deliver
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_pairs, print_table, progress, warn
from node.commands.sending_options import DEFAULT_WALLET, PasswordFile, Yes, check_name
from node.commands.wallet_files import WalletFile, account_address

MAX_PHRASE_CHARS: Final = 1_024

app = typer.Typer(help="Keys, balances and payments.", no_args_is_help=True, add_completion=False)
app.add_typer(wallet_multisig.app, name="multisig")

Name = Annotated[str, typer.Argument(help="The wallet's name.", parser=usage(check_name))]
Account = Annotated[int, typer.Option("--account", min=0, max=2**31 - 1, help="Account in m/44'/1'/ACCOUNT'/0'/INDEX'.")]
Index = Annotated[int, typer.Option("--index", min=0, max=2**31 - 1, help="Index in m/44'/1'/ACCOUNT'/0'/INDEX'.")]


@app.command()
def new(
    name: Name = DEFAULT_WALLET,
    words: Annotated[int, typer.Option("--words", help="12, 15, 18, 21 or 24.")] = DEFAULT_WORDS,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Make a wallet and print its words once: they are the only backup."""
    wallet_files.check_free(name)
    wallet = Wallet.generate(words)
    password = wallet_files.read_password(password_file, confirm=True)
    made = wallet_files.save(name, wallet, password, account=0, index=0)
    warn("write these words down and keep them safe: whoever has them has the money, and nothing else restores it")
    _show(made, as_json=as_json, mnemonic=wallet.mnemonic)


@app.command()
def restore(
    name: Name = DEFAULT_WALLET,
    mnemonic_file: Annotated[
        Path | None, typer.Option("--mnemonic-file", help="A file with the words, - for standard input (else asked).")
    ] = None,
    account: Account = 0,
    index: Index = 0,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Make a wallet of words that exist already."""
    wallet_files.check_free(name)
    wallet = Wallet.from_mnemonic(_phrase(mnemonic_file), account=account, index=index)
    password = wallet_files.read_password(password_file, confirm=True)
    _show(wallet_files.save(name, wallet, password, account=account, index=index), as_json=as_json)


def _phrase(file: Path | None) -> str:
    if file is None:
        check_can_ask(yes=False, hint="give --mnemonic-file FILE, or - for standard input")
        asked: str = typer.prompt("Words", hide_input=True, err=True)
        return asked
    if str(file) == "-":
        return sys.stdin.read(MAX_PHRASE_CHARS)
    with file.open(encoding="utf-8") as stream:
        return stream.read(MAX_PHRASE_CHARS)


def _show(made: WalletFile, *, as_json: bool, **more: str) -> None:
    shown = {"name": made.name, "address": made.address, "path": made.path, "file": str(made.file), **more}
    if as_json:
        print_json(shown)
    else:
        print_pairs(shown)


@app.command(name="list")
def list_wallets(as_json: Json = False) -> None:
    """List the wallets on this machine."""
    found = [wallet_files.look(name) for name in wallet_files.names()]
    if as_json:
        print_json([{"name": item.name, "address": item.address, "path": item.path} for item in found])
    else:
        print_table(("name", "address", "path"), [(item.name, item.address, item.path) for item in found])


@app.command()
def address(name: Name = DEFAULT_WALLET, as_json: Json = False) -> None:
    """Print a wallet's address."""
    found = wallet_files.look(name)
    if as_json:
        print_json({"name": found.name, "address": found.address, "public_key": found.public_key or None})
    else:
        typer.echo(found.address)


@app.command()
def balance(
    name: Name = DEFAULT_WALLET, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False
) -> None:
    """Show a wallet's money. For any other account: `datacar account ADDRESS`."""
    show_account(wallet_files.look(name).address, rpc, timeout, as_json=as_json)


def _payment(text: str) -> int:
    motes = parse_datr(text)
    if motes == 0:
        raise BadEncodingError("a payment of nothing is not sent", hint="give an amount above 0")
    return motes


def _reference(text: str) -> str:
    if len(text) > MAX_REFERENCE_CHARS:
        raise BadEncodingError(f"a reference has at most {MAX_REFERENCE_CHARS} characters", hint="shorten it")
    return text


@app.command()
def send(
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS|WALLET", parser=usage(account_address), help="Who receives it.")],
    amount: Annotated[int, typer.Option("--amount", metavar="DATR", parser=usage(_payment), help="How much.")],
    sender: Annotated[
        str, typer.Option("--from", metavar="NAME", parser=usage(check_name), help="The wallet that pays.")
    ] = DEFAULT_WALLET,
    reference: Annotated[str, typer.Option("--reference", parser=usage(_reference), help="A business id to send along.")] = "",
    yes: Yes = False,
    password_file: PasswordFile = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Send DATR and wait until the transfer is final. It is simulated first: what would fail is not sent.

    Exit codes: 0 succeeded, 3 nothing was sent, 4 refused, failed or expired, 5 the outcome is not known yet.
    """
    check_can_ask(yes=yes)
    payer, shown = read_sender(sender, None, None, password_file), f"{format_motes(amount)} DATR"
    with connect(rpc, timeout) as client:
        calls = [Call(ASSET, on_demand.Asset.transfer.__name__, (parse_address(to), amount))]
        found = client.simulate(payer.policy, calls)
        for line in () if yes else Cost.ask(client, payer.address, found).lines():
            progress(line)
        agree(f"Send {shown} from {payer.address} to {to}?", yes=yes)
        wallet = payer.wallet()
        progress(f"sending {shown} to {to}")
        receipt = deliver(client, client.sign(wallet, calls, reference=reference, gas_limit=found.gas_limit))
        view = View.of(on_demand.default_registry(), money_of(client), payer.policy.address)
        more = {"from": payer.address, "to": to, "amount": format_motes(amount) if as_json else shown}
        view.print_receipt(calls, receipt, as_json=as_json, **more)
