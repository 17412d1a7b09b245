"""From the bytes of a JSON-RPC message to the bytes of its answer: parse, bind, run, map errors.

Each answer of a batch becomes bytes as soon as it is there; what is told is these bytes one after the other.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from ledger.errors import DatacarError, RejectedError
from node.api import NodeApi
from node.rpc import jsonrpc, limits
from node.rpc.context import Context
from node.rpc.jsonrpc import Json, Message, Refusal, Request
from node.rpc.methods import METHODS
from node.rpc.room import NO_ROOM, AnswerLostError, Room, Share
from node.rpc.turns import Turns
from node.rpc.waits import Waits
from vm.registry import Registry

OK: Final = "ok"
UNKNOWN: Final = "unknown"
CHANGING: Final = ("tx_send", "dev_")
"""How methods are called that do more than tell something."""

log = structlog.get_logger("rpc")


class Dispatcher:
    """Answers messages. `observe` is told of each request's method and outcome (`ok`, or the error's reason).

    `room` is what all answers together may take, of which a message has a share as long as its answer is held.
    """

    def __init__(self, node: NodeApi, registry: Registry, *, max_body_bytes: int, observe: Callable[[str, str], None]) -> None:
        self.room = Room()
        waits = Waits(limits.BATCH_WAITS)
        self._context = Context(node, registry, METHODS, max_body_bytes, Turns(), waits, self.room.share())
        self._observe = observe

    def serve(self, node: NodeApi) -> None:
        """Answer for another node from the next message on."""
        self._context = replace(self._context, node=node)

    async def answer(self, body: bytes, waits: Waits | None = None, share: Share | None = None) -> bytes | None:
        """Return the answer to a message of any bytes; None where there is nothing to answer (notifications only).

        `waits` is the room for waits of the connection it came by; without it the message has its own. `share` is the room of the
        answer, for those who hold it until it is sent.
        """
        if share is None:
            with self.room.share() as own:
                return await self.answer(body, waits, own)
        message = jsonrpc.parse(body)
        context = replace(self._context, waits=waits or Waits(limits.BATCH_WAITS), share=share)
        if not message.is_batch:
            return await self._answer(context, message.items[0])
        told = [answer for answer in await self._answer_all(context, message) if answer is not None]
        return b"[" + b",".join(told) + b"]" if told else None

    async def _answer_all(self, context: Context, message: Message) -> list[bytes | None]:
        """Answer a batch in order. Requests that wait do not hold up the others, and I/O gets its turn between them."""
        tasks = []
        async with asyncio.TaskGroup() as group:
            for item in message.items:
                tasks.append(group.create_task(self._answer(context, item)))
                await asyncio.sleep(0)
        return [task.result() for task in tasks]

    async def _answer(self, context: Context, item: Request | Refusal) -> bytes | None:
        """Return one response object as bytes; None for a notification."""
        try:
            if isinstance(item, Refusal):
                self._observe(UNKNOWN, item.error.reason)
                raise item.error
            answer = jsonrpc.dump(jsonrpc.result_object(item.id, await self._run(context, item)))
            if not item.is_notification:
                context.share.check_fits(len(answer))
        except NO_ROOM as error:
            changed = isinstance(item, Request) and item.method.startswith(CHANGING)
            answer = jsonrpc.dump(jsonrpc.error_object(item.id, AnswerLostError() if changed else error))
        except DatacarError as error:
            answer = jsonrpc.dump(jsonrpc.error_object(item.id, error))
        is_silent = isinstance(item, Request) and item.is_notification
        return None if is_silent else context.share.keep(answer)

    async def _run(self, context: Context, request: Request) -> Json:
        """Run a request's method. Raises `DatacarError`: the method's own, or `InternalError` for a defect."""
        method = METHODS.by_name.get(request.method)
        if method is None:
            self._observe(UNKNOWN, "not_found")
            hint = "rpc.discover lists the methods of this node"
            raise jsonrpc.MethodNotFoundError(f"there is no method {request.method}", hint=hint, method=request.method)
        try:
            context.share.check_open()
            if method.development and not context.node.development:
                hint = "use a development network; its genesis says development = true"
                raise RejectedError("not_permitted", f"{method.name} is served on development networks only", hint=hint)
            result = await method.handler(context, **method.bind(request.params))
        except DatacarError as error:
            self._observe(method.name, error.reason)
            context.node.note_failure(error)
            raise
        except Exception as error:  # a defect must not end the connection; its text stays in our log
            self._observe(method.name, "internal_error")
            log.exception("method failed", method=method.name)
            raise jsonrpc.InternalError from error
        self._observe(method.name, OK)
        return result
