"""A language model behind an OpenAI-compatible server: what it is asked, and what its answers and failures become."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

from anyio import to_thread

from semsearch.errors import LanguageModelError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

log = logging.getLogger(__name__)

RULES = (
    "Answer the question from the excerpts alone, in the language of the question, in a few plain sentences. Put the "
    "number of the excerpt behind each statement, like [1]. If the excerpts do not answer the question, say that you "
    "do not know."
)

REWRITE = (
    "Rewrite the last question so that it can be understood without the conversation: replace words such as it, they "
    "or there by what they mean. Reply with the question alone."
)

REMEMBERED = 6
"""Messages of the conversation that the model sees."""

LONGEST_ANSWER, LONGEST_QUESTION = 20_000, 500
"""Characters of an answer after which it is cut off, and of a rewritten question that is believed."""

ENDED_EARLY = {
    "": "broke off in the middle of its answer; ask again",
    "length": "reached its limit before the end of its answer; ask for less, or raise its limit of tokens",
    "content_filter": "withheld the rest of its answer",
}
"""What is said of an answer that is not whole, by its `finish_reason`; empty where there was none."""

Message: TypeAlias = dict[str, str]
"""`{"role", "content"}`."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model and the server that runs it.

    Attributes:
        base_url: Ends in /v1 as a rule.
        name: As that server calls it.
        key: Never shown; empty for none.
        seconds: How long it may say nothing.
    """

    base_url: str
    name: str
    key: str = field(default="", repr=False)
    seconds: float = 60.0

    async def standing_alone(self, question: str, history: Sequence[Message]) -> str:
        """A follow-up question with its subject, such as `when does it bloom` after one about roses.

        Raises:
            LanguageModelError: The server gives no answer.
        """
        if not history:
            return question
        pieces = self._stream([*history[-REMEMBERED:], _user(f"{REWRITE}\n\nThe question: {question}")])
        rewritten = "".join([piece async for piece in pieces]).strip()
        return rewritten if len(rewritten) < LONGEST_QUESTION else question

    def answer(self, question: str, context: str, history: Sequence[Message]) -> AsyncGenerator[str]:
        """The pieces of an answer from a context, as they come.

        Raises:
            LanguageModelError: The server gives no answer, or stops in the middle.
        """
        system = {"role": "system", "content": RULES}
        prompt = _user(f"{context}\n\nThe question: {question}")
        return self._stream([system, *history[-REMEMBERED:], prompt])

    async def _stream(self, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """The pieces of a reply; one line for whatever goes wrong, for strangers' servers send anything."""
        said, end = 0, ""
        await to_thread.run_sync(import_module, "openai")  # takes a second the first time
        try:
            async with self._events(messages) as events:
                while said < LONGEST_ANSWER and (event := await self._next(events)) is not None:
                    piece, end = _read(event, end)
                    said += len(piece)
                    if piece:
                        yield piece
        except Exception as error:
            raise self._failure(error) from None
        if not said:
            raise LanguageModelError(f"{self._named} answered nothing that can be read; check `llm_base_url`")
        if said >= LONGEST_ANSWER:
            raise LanguageModelError(f"{self._named} was cut off after {said:,} characters; ask for less at once")
        if end in ENDED_EARLY:
            raise LanguageModelError(f"{self._named} {ENDED_EARLY[end]}")

    @asynccontextmanager
    async def _events(self, messages: Sequence[Message]) -> AsyncIterator[AsyncStream[ChatCompletionChunk]]:
        """The events of a reply as they come; the connection is closed behind them."""
        given = cast("list[ChatCompletionMessageParam]", list(messages))
        async with self._client() as client:
            async with asyncio.timeout(self.seconds):
                events = await client.chat.completions.create(model=self.name, messages=given, stream=True)
            try:
                yield events
            finally:
                await events.close()
                with suppress(Exception):  # an iterator that is left before its end outlives the loop, with a traceback
                    async for _ in events:
                        pass

    async def _next(self, events: AsyncStream[ChatCompletionChunk]) -> object:
        """The next event; None behind the last."""
        async with asyncio.timeout(self.seconds):
            return await anext(events, None)

    def _client(self) -> AbstractAsyncContextManager[AsyncOpenAI]:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self.base_url, api_key=self.key or "none", timeout=self.seconds, max_retries=0, organization=""
        )

    def _failure(self, error: Exception) -> LanguageModelError:
        """One line; never what the server said, which may hold the key."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        log.info("language model: %s", type(error).__name__)
        if isinstance(error, TimeoutError | APITimeoutError):
            return LanguageModelError(f"{self._named} said nothing for {self.seconds:g} seconds; try again")
        if isinstance(error, APIStatusError):
            return LanguageModelError(
                f"{self._named} refused with status {error.status_code}; check `llm_base_url`, `llm_model` "
                f"({self.name!r:.80}) and its key"
            )
        if isinstance(error, APIConnectionError):
            return LanguageModelError(f"{self._named} cannot be reached; start it, or check `llm_base_url`")
        return LanguageModelError(f"{self._named} sent an answer that makes no sense; check `llm_base_url`")

    @property
    def _named(self) -> str:
        """The server without what an address may hold of secrets."""
        parts = urlsplit(self.base_url)
        return f"the language model's server {parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _read(event: Any, end: str) -> tuple[str, str]:
    """The text of an event, which may be empty, and how the reply has ended, unless that is as before."""
    if not event.choices:
        return "", end
    text, reason = event.choices[0].delta.content, event.choices[0].finish_reason
    return (text if isinstance(text, str) else ""), (reason if isinstance(reason, str) else end)


def _user(content: str) -> Message:
    return {"role": "user", "content": content}
