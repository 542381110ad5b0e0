"""Client for a language model behind an OpenAI-compatible server: its prompts, its answers and its failures."""

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
    "number of the excerpt after each statement, like [1]. If the excerpts do not answer the question, say that you "
    "do not know."
)

REWRITE = (
    "Rewrite the last question so that it can be understood without the conversation: replace words such as it, they "
    "or there by what they mean. Reply with the question alone."
)

REMEMBERED = 6
"""Number of messages of the conversation that the model sees."""

LONGEST_ANSWER, LONGEST_QUESTION = 20_000, 500
"""Characters after which an answer is cut off, and maximum length of a rewritten question to accept."""

ENDED_EARLY = {
    "": "broke off in the middle of its answer; ask again",
    "length": "reached its limit before the end of its answer; ask for less, or raise its token limit",
    "content_filter": "withheld the rest of its answer",
}
"""Messages for incomplete answers, by their `finish_reason`; the empty key stands for none."""

Message: TypeAlias = dict[str, str]
"""`{"role", "content"}`."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model and the server that runs it.

    Attributes:
        base_url: URL of the server's API, which usually ends in /v1.
        name: Name of the model on that server.
        key: API key, never shown; empty for none.
        seconds: Seconds to wait for each part of the response.
    """

    base_url: str
    name: str
    key: str = field(default="", repr=False)
    seconds: float = 60.0

    async def standing_alone(self, question: str, history: Sequence[Message]) -> str:
        """Return a follow-up question, such as `when does it bloom` after one about roses, rewritten to stand alone.

        Raises:
            LanguageModelError: If the server gives no answer.
        """
        if not history:
            return question
        pieces = self._stream([*history[-REMEMBERED:], _user(f"{REWRITE}\n\nThe question: {question}")])
        rewritten = "".join([piece async for piece in pieces]).strip()
        return rewritten if len(rewritten) < LONGEST_QUESTION else question

    def answer(self, question: str, context: str, history: Sequence[Message]) -> AsyncGenerator[str]:
        """Stream the pieces of an answer that is based on a context.

        Raises:
            LanguageModelError: If the server gives no answer, or stops in the middle.
        """
        system = {"role": "system", "content": RULES}
        prompt = _user(f"{context}\n\nThe question: {question}")
        return self._stream([system, *history[-REMEMBERED:], prompt])

    async def _stream(self, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """Yield the pieces of a reply; every failure becomes a one-line error, because the server may send anything."""
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
            raise LanguageModelError(f"{self._named} returned no readable answer; check `llm_base_url`")
        if said >= LONGEST_ANSWER:
            raise LanguageModelError(f"{self._named} was cut off after {said:,} characters; ask for less")
        if end in ENDED_EARLY:
            raise LanguageModelError(f"{self._named} {ENDED_EARLY[end]}")

    @asynccontextmanager
    async def _events(self, messages: Sequence[Message]) -> AsyncIterator[AsyncStream[ChatCompletionChunk]]:
        """Open the stream of events of a reply, and close the connection afterwards."""
        given = cast("list[ChatCompletionMessageParam]", list(messages))
        async with self._client() as client:
            async with asyncio.timeout(self.seconds):
                events = await client.chat.completions.create(model=self.name, messages=given, stream=True)
            try:
                yield events
            finally:
                await events.close()
                with suppress(Exception):  # an iterator not read to its end outlives the event loop, with a traceback
                    async for _ in events:
                        pass

    async def _next(self, events: AsyncStream[ChatCompletionChunk]) -> object:
        """Return the next event; None after the last one."""
        async with asyncio.timeout(self.seconds):
            return await anext(events, None)

    def _client(self) -> AbstractAsyncContextManager[AsyncOpenAI]:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self.base_url, api_key=self.key or "none", timeout=self.seconds, max_retries=0, organization=""
        )

    def _failure(self, error: Exception) -> LanguageModelError:
        """Return a one-line error, never the server's own message, which may contain the key."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        log.info("language model: %s", type(error).__name__)
        if isinstance(error, TimeoutError | APITimeoutError):
            return LanguageModelError(f"{self._named} sent nothing for {self.seconds:g} seconds; try again")
        if isinstance(error, APIStatusError):
            return LanguageModelError(
                f"{self._named} refused the request with status {error.status_code}; check `llm_base_url`, `llm_model` "
                f"({self.name!r:.80}) and its key"
            )
        if isinstance(error, APIConnectionError):
            return LanguageModelError(f"{self._named} cannot be reached; start it, or check `llm_base_url`")
        return LanguageModelError(f"{self._named} sent a malformed answer; check `llm_base_url`")

    @property
    def _named(self) -> str:
        """Description of the server for messages, without any secrets that its URL may contain."""
        parts = urlsplit(self.base_url)
        return f"the language model server {parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _read(event: Any, end: str) -> tuple[str, str]:
    """Return the text of an event, which may be empty, and its finish reason, or `end` if it has none."""
    if not event.choices:
        return "", end
    text, reason = event.choices[0].delta.content, event.choices[0].finish_reason
    return (text if isinstance(text, str) else ""), (reason if isinstance(reason, str) else end)


def _user(content: str) -> Message:
    return {"role": "user", "content": content}
