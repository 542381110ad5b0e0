"""A chatbot for the terminal that answers from an index, cites its sources, and admits when it finds no answer there.

    pip install openai
    semsearch index ~/notes
    python examples/chatbot.py indexes/notes --base-url http://127.0.0.1:11434/v1 --model llama3.2

Any OpenAI-compatible server works, such as Ollama, llama.cpp, vLLM or LM Studio. The API key, if any, is read from
OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from openai import OpenAI, OpenAIError

from semsearch import Context, Index
from semsearch.errors import SemsearchError
from semsearch.printable import harmless

RULES = (
    "Answer the question from the excerpts alone, in the language of the question. Put the number of the excerpt "
    "behind each statement, like [1]. If the excerpts do not answer it, say that you do not know."
)

REWRITE = (
    "Rewrite the last question so that it can be understood without the conversation: replace words such as it, they "
    "or there by what they mean. Reply with the question alone."
)

REMEMBERED = 6
"""Number of recent messages that are sent to the model."""


class Chatbot:
    """A conversation about the documents of an index."""

    def __init__(self, index: Index, client: OpenAI, model: str, budget: int = 1_500) -> None:
        self.index, self.client, self.model, self.budget = index, client, model, budget
        self.history: list[dict[str, str]] = []

    def ask(self, question: str) -> tuple[Context, Iterator[str]]:
        """Return the context for a question and an iterator over the pieces of the answer as they arrive."""
        context = self.index.context(self.standing_alone(question), self.budget)
        return context, self._answer(question, context)

    def standing_alone(self, question: str) -> str:
        """Rewrite a follow-up question, such as `when does it bloom` after one about roses, to be self-contained."""
        if not self.history:
            return question
        asked = [*self.history[-REMEMBERED:], {"role": "user", "content": f"{REWRITE}\n\nThe question: {question}"}]
        reply = self.client.chat.completions.create(model=self.model, messages=asked, temperature=0)  # type: ignore[arg-type]
        rewritten = (reply.choices[0].message.content or "").strip() if reply.choices else ""
        return rewritten if 0 < len(rewritten) < 500 else question

    def _answer(self, question: str, context: Context) -> Iterator[str]:
        if not context:  # the model is not called, so it cannot make up an answer
            said = "I don't know: nothing in the documents answers that."
            yield said
        else:
            prompt = {"role": "user", "content": f"{context.text}\n\nThe question: {question}"}
            asked = [{"role": "system", "content": RULES}, *self.history[-REMEMBERED:], prompt]
            said, end = "", None
            stream = self.client.chat.completions.create(model=self.model, messages=asked, stream=True)  # type: ignore[call-overload]
            for event in stream:
                if event.choices:
                    piece, end = event.choices[0].delta.content or "", event.choices[0].finish_reason or end
                    said += piece
                    yield piece
            if not said or not end:
                raise ValueError("it broke off" if said else "nothing that can be read")
        self.history += [{"role": "user", "content": question}, {"role": "assistant", "content": said}]


def main() -> None:
    """Run the chatbot until Ctrl-D."""
    parser = argparse.ArgumentParser(description="Chat with the documents of an index.")
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("--base-url", default="http://127.0.0.1:11434/v1", help="an OpenAI-compatible server")
    parser.add_argument("--model", default="llama3.2", help="model to ask for")
    arguments = parser.parse_args()
    client = OpenAI(base_url=arguments.base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=60)
    try:
        with Index.open(arguments.index) as index:
            talk(Chatbot(index, client, arguments.model))
    except SemsearchError as error:
        sys.exit(f"error: {error}")


def talk(bot: Chatbot) -> None:
    """Read questions and print answers with their sources."""
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not question:
            continue
        try:
            context, pieces = bot.ask(question)
            for piece in pieces:
                print(harmless(piece), end="", flush=True)
            print()
        except SemsearchError as error:
            print(f"error: {error}", file=sys.stderr)
            continue
        except (OpenAIError, TypeError, ValueError) as error:  # a server may send anything
            print(f"error: no answer from {bot.client.base_url}: {error}", file=sys.stderr)
            continue
        for excerpt in context.excerpts:
            print(f"    {excerpt.heading}")


if __name__ == "__main__":
    main()
