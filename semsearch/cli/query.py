"""The `semsearch query` command, which answers one query, a file of queries, or an interactive session."""

from __future__ import annotations

from typing import Any

from semsearch.cli import options as opt
from semsearch.cli.locations import find_index, writer_at
from semsearch.errors import NoIndexError, UsageError

NOTHING_FOUND = 3
"""Exit code of a query without hits."""


def query(
    text: opt.QueryText = None,
    index: opt.WhichIndex = None,
    k: opt.K = 10,
    mode: opt.SearchMode = None,
    where: opt.FilterText = None,
    fusion: opt.FusionName = opt.Fusion.convex,
    rerank: opt.Rerank = None,
    rerank_depth: opt.RerankDepth = None,
    min_confidence: opt.MinConfidence = None,
    group: opt.Group = None,
    context: opt.AsContext = False,
    budget: opt.Budget = None,
    neighbors: opt.Neighbors = None,
    explain: opt.Explain = False,
    queries: opt.QueryFile = None,
    run: opt.RunFile = None,
    interactive: opt.Interactive = False,
    model: opt.MovedModel = None,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    as_json: opt.AsJson = False,
) -> int:
    """Search an index.

    The query is encoded by the encoder that the index was built with. The exit code is 3 if nothing is found.
    """
    from semsearch.cli import answers, session
    from semsearch.index import Index

    asked = " ".join(text) if text else None
    if (asked is not None) + (queries is not None) + interactive != 1:
        raise UsageError(
            "give either a query, as in: semsearch query how do plants drink, or --queries FILE, or --interactive"
        )
    if run and not queries:
        raise UsageError("--run requires --queries FILE")
    answers.check_context_options(
        context,
        budget=budget,
        neighbors=neighbors,
        queries=queries,
        fusion=fusion.value,
        depth=rerank_depth,
        group=group,
    )
    answers.check_explain_options(explain, context=context, queries=queries)
    folder = find_index(index, newest=True)
    with Index.open(folder, model=model, device=device, runtime=runtime) as opened:
        if not len(opened) and (writer := writer_at(folder)):
            raise NoIndexError(f"{str(folder)!r} is being written by {writer}, and no batch is committed yet")
        chosen = mode.value if mode else opened.default_mode
        wishes: dict[str, Any] = {"min_confidence": min_confidence}
        ranking: dict[str, Any] = {"fusion": fusion.value, "rerank": rerank, "rerank_depth": rerank_depth}
        ranking["group"] = group is not False
        form = answers.Form(folder, as_json, context, budget, neighbors, explain)
        if queries is not None:
            singly = ranking | {"group": bool(group)}
            every = answers.answer_file(opened, queries, k, mode=chosen, where=where, **wishes, **singly)
            if run:
                answers.write_run(every, run, chosen, form)
            else:
                answers.print_lines(every, folder, chosen)
            return 0
        asking = answers.Asking(opened, k, chosen, where, wishes, ranking, form)
        if asked is None:
            session.run(asking)
            return 0
        return 0 if asking.answer(asked) else NOTHING_FOUND
