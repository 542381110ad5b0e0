"""Add, upload, read and delete documents, under `/documents`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from anyio import to_thread
from fastapi import APIRouter, File, Form, Path, Query, UploadFile

from semsearch.ingest import IngestResult
from semsearch.server.access import Asked
from semsearch.server.intake import from_files, from_json
from semsearch.server.links import document_url
from semsearch.server.models import Added, Addition, Deleted, Deletion, Span, WholeDocument
from semsearch.server.schema import REFUSALS
from semsearch.server.service import Service, unknown
from semsearch.types import Document

router = APIRouter(responses=REFUSALS)

DocId: TypeAlias = Annotated[str, Path(description="Id of the document, percent-encoded; may contain slashes.")]
IndexName: TypeAlias = Annotated[
    str | None, Query(alias="index", description="Name of the index; may be omitted if only one is served.")
]

ODD = "Id of the document, instead of in the path: for ids that no path can contain, such as `..`."


@router.post("/documents", operation_id="add_documents")
async def add(asked: Addition, service: Asked) -> Added:
    """Add documents, or replace those with the same ids; unchanged text is not encoded again."""
    name = service.one_of(asked.index)
    service.check_write(name, len(asked.documents))
    return await _added(service, name, from_json(asked.documents))


@router.post("/documents/files", operation_id="upload_documents")
async def upload(
    service: Asked,
    files: Annotated[list[UploadFile], File(description="jsonl, csv, tsv, txt, md, html or pdf; also gzipped.")],
    index: Annotated[str | None, Form(description="Name of the index; may be omitted if only one is served.")] = None,
) -> Added:
    """Add the documents in files; if a file is a single document, its name becomes the id."""
    name = service.one_of(index)
    service.check_write(name, len(files))
    given = [(file.filename or "", file.file) for file in files]
    most = service.settings
    documents = await to_thread.run_sync(lambda: from_files(given, most.max_batch, 4 * most.max_body_bytes))
    return await _added(service, name, documents)


@router.post("/documents/delete", operation_id="delete_documents")
async def delete_many(asked: Deletion, service: Asked) -> Deleted:
    """Delete documents by id."""
    name = service.one_of(asked.index)
    there = await service.delete(name, asked.ids)
    known = set(there)
    return Deleted(index=name, deleted=there, missing=[doc_id for doc_id in asked.ids if doc_id not in known])


@router.get("/documents/{doc_id:path}", operation_id="get_document")
async def get(
    doc_id: DocId, service: Asked, index: IndexName = None, id: Annotated[str | None, Query(description=ODD)] = None
) -> WholeDocument:
    """Return a whole document, with the character ranges of its passages."""
    name = service.one_of(index)
    doc_id = id if id is not None else doc_id
    stored = await service.document(name, doc_id)
    return WholeDocument(
        index=name,
        id=doc_id,
        title=stored.title,
        text=stored.text,
        metadata=dict(stored.metadata),
        passages=[Span(start=start, end=end) for start, end in stored.spans],
        url=document_url(service, name, doc_id),
    )


@router.delete("/documents/{doc_id:path}", operation_id="delete_document")
async def delete(doc_id: DocId, service: Asked, index: IndexName = None) -> Deleted:
    """Delete a document."""
    name = service.one_of(index)
    there = await service.delete(name, [doc_id])
    if not there:
        raise unknown(doc_id, name)
    return Deleted(index=name, deleted=there, missing=[])


async def _added(service: Service, name: str, documents: list[Document]) -> Added:
    result: IngestResult = await service.add(name, documents)
    counts = {field: getattr(result, field) for field in Added.model_fields if field not in ("index", "ids")}
    return Added(index=name, ids=[document.doc_id for document in documents], **counts)
