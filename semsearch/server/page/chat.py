"""Chat: `POST /chat` finds excerpts for a question, and lets the language model, if there is one, answer from them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from semsearch.context import Excerpt
from semsearch.errors import SemsearchError
from semsearch.server.access import Asked
from semsearch.server.links import document_url
from semsearch.server.models import JsonObject, Mode, Refusal
from semsearch.server.page.language_model import LanguageModel, Message
from semsearch.server.problems import problem_of
from semsearch.server.schema import REFUSALS
from semsearch.server.service import Service

NDJSON = "application/x-ndjson"

UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Response headers; without the second, proxies such as nginx buffer an answer until it is complete."""

STREAM: dict[str, Any] = {
    "description": (
        "JSON objects, one per line: first `{question, index, model, mode, warming, excerpts}`, where `model` is null "
        "without a language model; then `{text}` for each piece of the answer, or `{error: {code, message}}`; last "
        "`{done: true}`. Without excerpts, the language model is not called."
    ),
    "content": {NDJSON: {"schema": {"type": "string"}}},
}

router = APIRouter(responses=REFUSALS | {502: {"model": Refusal, "description": "The language model failed."}})


class Said(BaseModel):
    """A message of the conversation so far."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: str = Field(max_length=32_768)


class Question(BaseModel):
    """A question in a conversation."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"question": "How long should a steak rest?"}]}
    )

    question: str = Field(description="Question in natural language.")
    index: str | None = Field(None, description="Name of the index; may be omitted if only one is served.")
    history: list[Said] = Field([], max_length=100, description="The conversation so far; the server stores none.")
    mode: Mode | None = None
    where: str | JsonObject | None = Field(None, description="Metadata filter, as in a search.")
    budget: int = Field(1_500, ge=100, le=8_000, description="Maximum number of tokens in the context.")


@router.post("/chat", operation_id="chat", response_class=StreamingResponse, responses={200: STREAM})
async def chat(asked: Question, service: Asked) -> StreamingResponse:
    """Find excerpts for a question, and stream an answer that is based on them."""
    name = service.one_of(asked.index)
    service.state(name)  # raises if the index may not be read, before the language model is called
    model = language_model(service)
    history: list[Message] = [message.model_dump() for message in asked.history]
    question = asked.question
    if model and history:
        with service.desk.talk():
            question = await model.standing_alone(question, history)
    context, mode, warming = await service.context(name, question, asked.budget, mode=asked.mode, where=asked.where)
    beginning = {
        "question": question,
        "index": name,
        "model": model and model.name,
        "mode": mode,
        "warming": warming,
        "excerpts": [_shown(service, name, excerpt) for excerpt in context.excerpts],
    }
    answer = model.answer(asked.question, context.text, history) if model and context else None
    return StreamingResponse(_told(service, beginning, answer), media_type=NDJSON, headers=UNBUFFERED)


def language_model(service: Service) -> LanguageModel | None:
    """Return the configured language model, if there is one."""
    chosen = service.settings
    if not chosen.llm_base_url:
        return None
    return LanguageModel(chosen.llm_base_url, chosen.llm_model, chosen.llm_key, chosen.max_seconds)


async def _told(service: Service, beginning: JsonObject, answer: AsyncGenerator[str] | None) -> AsyncIterator[bytes]:
    """Yield the lines of the response to a question."""
    yield _line(beginning)
    if answer:
        try:
            with service.desk.talk():
                async with aclosing(answer):
                    async for piece in answer:
                        yield _line({"text": piece})
        except SemsearchError as error:
            problem = problem_of(error)
            yield _line({"error": {"code": problem.code, "message": problem.message}})
    yield _line({"done": True})


def _line(told: JsonObject) -> bytes:
    return json.dumps(told).encode() + b"\n"


def _shown(service: Service, index: str, excerpt: Excerpt) -> JsonObject:
    """Return an excerpt with the URL of the page that shows it; the document's own URL is its `source`."""
    link = document_url(service, index, excerpt.doc_id, excerpt.start, excerpt.end)
    named = asdict(excerpt)
    return {"id": named.pop("doc_id"), "source": named.pop("url"), "url": link, **named}
