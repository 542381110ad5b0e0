"""Retrieval measures, computed by ir-measures in the conventions of trec_eval or of sentence-transformers.

trec: linear graded gain; AP is normalized by the number of relevant documents; scores are compared in float32, and ties
are broken by descending id; a query without hits scores 0.
st: the conventions of InformationRetrievalEvaluator: every gain above 0 counts as 1, AP@k is normalized by
min(k, relevant), and MAP is MAP@100; ties are broken by ascending id; queries without a relevant document are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.errors import UsageError
from semsearch.types import Qrels, Run

MEASURES = ("nDCG@10", "MAP", "RR@10", "R@10", "R@100", "P@10")

STYLES = ("trec", "st")

ST_MAP_DEPTH = 100

PerQuery = dict[str, NDArray[np.float64]]
"""Values by measure, `[judged queries]` each, in the order of the qrels."""


def check_measures(names: Sequence[str]) -> None:
    """Raise UsageError if no measure is given, or ir-measures does not know one or cannot compute it."""
    if not names:
        raise UsageError(f"no measure given; expected some, such as {', '.join(MEASURES)}")
    for name in names:
        _parse(name)


def judged_queries(qrels: Qrels, style: str = "trec") -> list[str]:
    """Return the ids of the queries that count: all judged ones, or in style `st` those with a relevant document."""
    return [query for query, judged in qrels.items() if style == "trec" or any(gain > 0 for gain in judged.values())]


def measure_run(qrels: Qrels, run: Run, names: Sequence[str] = MEASURES, style: str = "trec") -> PerQuery:
    """Compute each measure for each judged query.

    Args:
        qrels: `{query_id: {doc_id: gain}}`; only these queries count.
        run: `{query_id: {doc_id: score}}`.
        names: Measures as ir-measures writes them; `MAP` is the mean of AP.
        style: `trec` or `st`; see the top of this module.

    Raises:
        UsageError: If a measure or the style is unknown.
    """
    if style not in STYLES:
        raise UsageError(f"unknown style {style!r}; expected one of {', '.join(STYLES)}")
    asked = judged_queries(qrels, style)
    if style == "st":
        qrels = {query: {doc: 1 for doc, gain in qrels[query].items() if gain > 0} for query in asked}
    run = {query: ranked(run[query], style) for query in asked if run.get(query)}
    row = {query: number for number, query in enumerate(asked)}
    parsed = {name: _parse(name, style) for name in names}
    values = {measure: np.zeros(len(asked)) for measure in parsed.values()}
    for metric in _providers().iter_calc(list(values), qrels, run):
        values[metric.measure][row[metric.query_id]] = metric.value
    for measure in values:
        if measure.NAME == "NumRel":  # does not depend on hits, but ir-measures reports 0 for a query without any
            least = measure.params.get("rel", 1)
            values[measure][:] = [sum(gain >= least for gain in qrels[query].values()) for query in asked]
    if style == "st":
        relevant = np.array([len(qrels[query]) for query in asked])
        for measure in values:
            if measure.NAME == "AP":
                values[measure] *= relevant / np.minimum(relevant, measure["cutoff"])
    return {name: values[measure] for name, measure in parsed.items()}


def ranked(scores: Mapping[str, float], style: str) -> dict[str, float]:
    """Return the same ranking without ties, best first; the providers of ir-measures break ties in different ways."""
    if style == "st":
        order = sorted(scores, key=lambda doc: (-scores[doc], doc))
    else:
        single = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
        order = [doc for _, doc in sorted(zip(single, scores, strict=True), reverse=True)]
    return {doc: -float(rank) for rank, doc in enumerate(order)}


@cache
def _parse(name: str, style: str = "trec") -> Any:
    """Parse a measure and compute it on one document, to make sure that it works."""
    ir_measures = _ir_measures()
    try:
        measure = ir_measures.parse_measure(name)
        _check_cutoff(measure)
        list(_providers().iter_calc([measure], {"q": {"d": 1}}, {"q": {"d": 1.0}}))
    except Exception as error:  # ir-measures raises AssertionError, KeyError or TypeError for what it cannot do
        reason = " ".join(str(error).split())
        raise UsageError(
            f"unknown measure {name!r} ({reason}); expected one such as {', '.join(MEASURES)}, or any of ir-measures: "
            f"{', '.join(sorted(set(ir_measures.measures.registry), key=str.casefold))}"
        ) from None
    whole = measure.NAME == "AP" and "cutoff" not in measure.params
    return measure @ ST_MAP_DEPTH if style == "st" and whole else measure


def _check_cutoff(measure: Any) -> None:
    """Raise ValueError for an invalid cutoff: with a cutoff of 0, trec_eval would end the whole process."""
    needed = "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required
    cutoff = measure.params.get("cutoff", None if needed else 1)
    if type(cutoff) is not int or cutoff < 1:
        raise ValueError(f"the cutoff must be a positive integer, as in {measure.NAME}@10")


def _providers() -> Any:
    """Return the providers of ir-measures except gdeval, a Perl program that accepts only numeric query ids."""
    providers = _ir_measures().providers
    every = _ir_measures().DefaultPipeline.providers
    return providers.FallbackProvider([one for one in every if one.NAME != "gdeval"])


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError:
        raise UsageError(
            "evaluation needs ir-measures, which is not installed; pip install 'semsearch[eval]'"
        ) from None
    return ir_measures
