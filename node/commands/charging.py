"""`datacar charging`: what sessions cost, and real ones played through a running network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from datacar import on_demand
from ledger.codec import Value
from ledger.errors import BadEncodingError
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout
from node.commands.contract_group import ASKS, Height, MethodGroup, sends
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_pairs, print_table
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_types import TariffTerms
from vm.quote import parse_session, quote_session
from vm.strict_json import FieldError
from vm.tariff import Tariff, parse_tariff
from vm.tariff_restrictions import UTC_OFFSET_MINUTES_MAX

app = typer.Typer(
    help="Stations, tariffs and sessions; price them, and play real ones.",
    no_args_is_help=True,
    add_completion=False,
    cls=MethodGroup,
)

TariffFile = Annotated[Path, typer.Option("--tariff", exists=True, dir_okay=False, help="An OCPI tariff object (JSON).")]
UtcOffset = Annotated[
    int,
    typer.Option(
        "--utc-offset-minutes",
        min=-UTC_OFFSET_MINUTES_MAX,
        max=UTC_OFFSET_MINUTES_MAX,
        help="The site's local time, which the tariff's times, dates and days are about.",
    ),
]


def _account(text: str) -> str:
    from node.commands.wallet_files import account_address  # here, since help needs none of it

    return account_address(text)


@app.command("publish-tariff")
@sends(CHARGING, Charging.publish_tariff.__name__)
def publish_tariff(tariff: TariffFile, utc_offset: UtcOffset = 0) -> tuple[Value, ...]:
    """Publish an OCPI tariff, for good and for anybody's stations. Its id is the hash of its terms."""
    terms = TariffTerms.of(_tariff(tariff), utc_offset)
    return on_demand.default_registry().method(CHARGING, Charging.publish_tariff.__name__).encode_args((terms,))


@app.command("debt", rich_help_panel=ASKS)
def debt(
    driver: Annotated[str, typer.Option("--driver", metavar="ACCOUNT", parser=usage(_account), help="Who owes.")],
    height: Height = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show what a driver owes for all of his sessions, and for which; while he owes he cannot authorize another.

    `charging pay-debt --session-id ID --amount DATR` pays for one.
    """
    from node.commands.charging_debt import show  # here, since help needs none of it

    show(driver, height, rpc, timeout, as_json=as_json)


@app.command()
def price(
    tariff: TariffFile,
    session: Annotated[Path, typer.Option("--session", exists=True, dir_okay=False, help="The session (JSON).")],
    as_json: Json = False,
) -> None:
    """Quote a charging session offline, by the code that the contract runs."""
    terms = _tariff(tariff)
    with _naming(session):
        found: dict[str, Any] = quote_session(terms, parse_session(session.read_text(encoding="utf-8")))
    if as_json:
        print_json(found)
        return
    columns = ("type", "quantity", "price", "excl_vat", "vat")
    print_table(columns, [tuple(line[name] for name in columns) for line in found["components"]])
    typer.echo("")
    print_pairs({name: f"{found[name]} DATR" for name in ("excl_vat", "vat", "incl_vat")})


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE.csv", help="The sessions.")],
    tariff: TariffFile,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    utc_offset: UtcOffset = 0,
    as_json: Json = False,
) -> None:
    """Play real charging sessions through a running development network, and print what each station was paid.

    Ctrl-C begins no more sessions, lets those under way end, and prints what was settled. Exit code 4: all were rejected.
    """
    from node.commands.charging_replay import play  # here, since help needs none of it

    play(file, _tariff(tariff), rpc, timeout, utc_offset, as_json=as_json)


def _tariff(file: Path) -> Tariff:
    with _naming(file):
        return parse_tariff(file.read_text(encoding="utf-8"))


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Have what is wrong in a document say which file it is in."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise BadEncodingError(f"{file} is no text in UTF-8: {error}", hint="save it as UTF-8", file=str(file)) from error
    except FieldError as error:
        error.message = f"{file}: {error.message}"
        error.details["file"] = str(file)
        raise
