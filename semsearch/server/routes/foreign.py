"""The contracts of foreign front ends and clients, one row each, for the table in `contracts.py`."""

from __future__ import annotations

from semsearch.server.contract import Contract
from semsearch.server.routes import dify, ollama, open_webui, openai, qdrant, rerank, tei, vector_stores

FOREIGN = (
    Contract("OpenAI", openai.router, ("/v1/embeddings", "/v1/models"), openai.openai_shape("model_not_found")),
    Contract("OpenAI vector stores", vector_stores.router, ("/v1/vector_stores/",), openai.openai_shape("not_found")),
    Contract("rerank", rerank.router, ("/rerank", "/v1/rerank", "/v2/rerank"), rerank.rerank_shape),
    Contract("TEI", tei.router, ("/embed", "/info"), tei.tei_shape),
    Contract("Ollama", ollama.router, ("/api/",), ollama.ollama_shape),
    Contract("Dify", dify.router, ("/retrieval",), dify.dify_shape),
    Contract("Open WebUI", open_webui.router, ("/tools/", "/web_search")),
    Contract("Qdrant", qdrant.router, ("/collections/",), qdrant.qdrant_shape),
)
