"""Whatever bytes arrive, the answer is valid JSON-RPC or silence, and silence only for notifications."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.rpc.dispatch import Dispatcher
from node.rpc.methods import METHODS
from tests.memory_node import MemoryNode
from vm.registry import default_registry

SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WAITING = {"tx_wait"}  # would wait for its time-out, which other tests do
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("0x" + "00" * 32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
param_names = sorted({param.name for method in METHODS.by_name.values() for param in method.params})
params = st.lists(json_values, max_size=4) | st.dictionaries(st.sampled_from(param_names), json_values, max_size=4) | json_values
requests = st.fixed_dictionaries(
    {"method": st.sampled_from(sorted(set(METHODS.by_name) - WAITING)) | json_values},
    optional={"jsonrpc": st.just("2.0") | json_values, "id": json_values, "params": params},
)
well_formed = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers(0, 9), "method": st.sampled_from(sorted(set(METHODS.by_name) - WAITING))},
    optional={"params": params},
)


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    node = MemoryNode(Path(tmp_path_factory.mktemp("node")) / "db")
    yield Dispatcher(node, default_registry(), max_body_bytes=2**20, observe=lambda _method, _outcome: None)
    node.close()


def check_response(response: Any) -> None:
    assert response["jsonrpc"] == "2.0"
    assert response["id"] is None or isinstance(response["id"], str | int)
    assert ("result" in response) != ("error" in response)
    if "error" in response:
        error = response["error"]
        assert isinstance(error["code"], int)
        assert error["code"] != -32603, "a request found a defect"
        assert error["message"]
        assert error["data"]["reason"]
        assert "hint" in error["data"]


def answered(dispatcher: Dispatcher, body: bytes) -> Any:
    answer = asyncio.run(dispatcher.answer(body))
    return None if answer is None else orjson.loads(answer)


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes(dispatcher: Dispatcher, body: bytes) -> None:
    response = answered(dispatcher, body)
    if isinstance(response, list):
        assert response
        for item in response:
            check_response(item)
    elif response is not None:
        check_response(response)


@SETTINGS
@given(requests | well_formed)
def test_anything_like_a_request(dispatcher: Dispatcher, request_object: dict[str, Any]) -> None:
    response = answered(dispatcher, json.dumps(request_object).encode(errors="surrogatepass"))
    if response is None:
        assert "id" not in request_object
    else:
        check_response(response)


@SETTINGS
@given(st.lists(requests | well_formed | json_values, min_size=1, max_size=5))
def test_a_batch_answers_each_request_once_and_in_order(dispatcher: Dispatcher, batch: list[Any]) -> None:
    response = answered(dispatcher, json.dumps(batch).encode(errors="surrogatepass"))
    if isinstance(response, dict):  # the batch as a whole was no JSON
        check_response(response)
        return
    for item in response or []:
        check_response(item)
    certain = [item["id"] for item in batch if isinstance(item, dict) and type(item.get("id")) is int]
    told = [item["id"] for item in response or [] if type(item["id"]) is int]
    assert [number for number in certain if -(2**63) <= number < 2**64] == told
