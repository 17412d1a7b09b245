"""Members whose address is a name: a name server that hangs, fails or is slow costs its own members only."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from ledger.types import MemberId
from p2p.names import MAX_LOOKUPS, Names
from tests.patience import PATIENCE_S

ALICE, BOB = MemberId("alice"), MemberId("bob")


class NameServer:
    """Stands for the system's resolver: knows some names, fails for others, and hangs for "hangs..." until released."""

    def __init__(self) -> None:
        self.known = {"bob.example": ["192.0.2.1", "192.0.2.2", "192.0.2.1"]}
        self.asked: list[str] = []
        self.release = threading.Event()

    def getaddrinfo(self, host: str, port: None, *, type: int) -> list[tuple[object, ...]]:  # noqa: A002 - the real one's name
        self.asked.append(host)
        if host.startswith("hangs"):
            self.release.wait(PATIENCE_S)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, type, 6, "", (ip, port or 0)) for ip in self.known[host]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    double = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", double.getaddrinfo)
    yield double
    double.release.set()


async def settled(names: Names) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while names.running:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


async def test_ip_addresses_are_not_looked_up(server: NameServer) -> None:
    names = Names(100)
    assert await names.resolve(BOB, "127.0.0.1") == ("127.0.0.1",)
    assert await names.resolve(BOB, "::1") == ("::1",)
    assert server.asked == []


async def test_a_name_gives_each_of_its_addresses_once(server: NameServer) -> None:
    assert await Names(5_000).resolve(BOB, "bob.example") == ("192.0.2.1", "192.0.2.2")
    assert server.asked == ["bob.example"]


async def test_a_name_that_fails_says_so_and_the_next_attempt_asks_again(server: NameServer) -> None:
    names = Names(5_000)
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        await names.resolve(BOB, "new.example")
    server.known["new.example"] = ["192.0.2.7"]
    assert await names.resolve(BOB, "new.example") == ("192.0.2.7",)
    del server.known["new.example"]
    assert await names.resolve(BOB, "new.example") == ("192.0.2.7",), "the last good address, while there is none"


async def test_names_that_hang_hold_up_nobody_else(server: NameServer) -> None:
    """One lookup for each member, however often it is dialled, and a limit on all of them."""
    names = Names(20)
    for _ in range(3):
        attempts = [names.resolve(MemberId(f"m{n}"), f"hangs{n}.example") for n in range(MAX_LOOKUPS - 1)]
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            assert "no answer yet" in str(outcome)
    assert names.running == len(server.asked) == MAX_LOOKUPS - 1
    slow = Names(5_000)
    assert await slow.resolve(ALICE, "bob.example"), "of another transport"
    assert await names.resolve(BOB, "127.0.0.1") == ("127.0.0.1",)
    with pytest.raises(OSError, match="no answer yet"):
        await names.resolve(BOB, "hangs.example")
    with pytest.raises(OSError, match="no answer yet"):
        await names.resolve(ALICE, "bob.example")
    assert names.running == MAX_LOOKUPS
    server.release.set()
    await settled(names)
    assert (await names.resolve(ALICE, "bob.example"))[0] == "192.0.2.1"


async def test_the_last_good_address_serves_while_a_lookup_hangs(server: NameServer) -> None:
    server.known["hangs.example"] = ["192.0.2.5"]
    names = Names(int(PATIENCE_S * 1_000))
    server.release.set()
    assert await names.resolve(BOB, "hangs.example") == ("192.0.2.5",)
    names._timeout_ms = 50
    server.release.clear()
    assert await names.resolve(BOB, "hangs.example") == ("192.0.2.5",)
    server.known["hangs.example"] = ["192.0.2.6"]
    assert await names.resolve(BOB, "hangs.example") == ("192.0.2.5",)
    assert len(server.asked) == 2, "the one under way is not doubled"
    server.release.set()
    await settled(names)
    assert await names.resolve(BOB, "hangs.example") == ("192.0.2.6",)


async def test_another_name_waits_for_the_lookup_of_the_one_before(server: NameServer) -> None:
    names = Names(50)
    with pytest.raises(OSError, match="no answer yet"):
        await names.resolve(BOB, "hangs.example")
    with pytest.raises(OSError, match="no answer yet"):
        await names.resolve(BOB, "bob.example")
    assert names.running == 1
    server.release.set()
    await settled(names)
    assert (await names.resolve(BOB, "bob.example"))[0] == "192.0.2.1"


async def test_a_removed_member_is_forgotten(server: NameServer) -> None:
    names = Names(5_000)
    await names.resolve(BOB, "bob.example")
    server.known.clear()
    names.keep_only(())
    with pytest.raises(socket.gaierror):
        await names.resolve(BOB, "bob.example")
