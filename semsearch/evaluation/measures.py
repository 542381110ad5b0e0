"""Measures of retrieval through ir-measures: trec_eval's conventions, or sentence-transformers'.

trec: graded gain, linear; AP over all relevant documents; ties, in float32, by descending id; a query that found
nothing counts 0.
st: as InformationRetrievalEvaluator has it: every gain above 0 is 1, AP@k over min(k, relevant), and MAP is that of
k = 100; ties by ascending id, queries without a relevant document left out.
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
"""By measure, `[judged queries]` in the order of the qrels."""


def check_measures(names: Sequence[str]) -> None:
    """Raise UsageError where ir-measures does not know one or cannot compute it, or none is named."""
    if not names:
        raise UsageError(f"no measure is named; such as {', '.join(MEASURES)}")
    for name in names:
        _parse(name)


def judged_queries(qrels: Qrels, style: str = "trec") -> list[str]:
    """The queries that count."""
    return [query for query, judged in qrels.items() if style == "trec" or any(gain > 0 for gain in judged.values())]


def measure_run(qrels: Qrels, run: Run, names: Sequence[str] = MEASURES, style: str = "trec") -> PerQuery:
    """Each measure for each judged query.

    Args:
        qrels: `{query_id: {doc_id: gain}}`; only these queries count.
        run: `{query_id: {doc_id: score}}`.
        names: As ir-measures writes them; `MAP` is the mean of AP.
        style: `trec` or `st`.

    Raises:
        UsageError: An unknown measure or style.
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
        if measure.NAME == "NumRel":  # needs no hits, but ir-measures has 0 for a query without one
            least = measure.params.get("rel", 1)
            values[measure][:] = [sum(gain >= least for gain in qrels[query].values()) for query in asked]
    if style == "st":
        relevant = np.array([len(qrels[query]) for query in asked])
        for measure in values:
            if measure.NAME == "AP":
                values[measure] *= relevant / np.minimum(relevant, measure["cutoff"])
    return {name: values[measure] for name, measure in parsed.items()}


def ranked(scores: Mapping[str, float], style: str) -> dict[str, float]:
    """The same ranking without ties, which the providers of ir-measures would break in different ways; best first."""
    if style == "st":
        order = sorted(scores, key=lambda doc: (-scores[doc], doc))
    else:
        single = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
        order = [doc for _, doc in sorted(zip(single, scores, strict=True), reverse=True)]
    return {doc: -float(rank) for rank, doc in enumerate(order)}


@cache
def _parse(name: str, style: str = "trec") -> Any:
    """A measure that is known to work, for it was tried on a document."""
    ir_measures = _ir_measures()
    try:
        measure = ir_measures.parse_measure(name)
        _check_cutoff(measure)
        list(_providers().iter_calc([measure], {"q": {"d": 1}}, {"q": {"d": 1.0}}))
    except Exception as error:  # ir-measures has asserts, KeyErrors and TypeErrors for what it cannot do
        reason = " ".join(str(error).split())
        raise UsageError(
            f"unknown measure {name!r} ({reason}); such as {', '.join(MEASURES)}, or any of ir-measures: "
            f"{', '.join(sorted(set(ir_measures.measures.registry), key=str.casefold))}"
        ) from None
    whole = measure.NAME == "AP" and "cutoff" not in measure.params
    return measure @ ST_MAP_DEPTH if style == "st" and whole else measure


def _check_cutoff(measure: Any) -> None:
    """trec_eval ends the process where the cutoff is 0."""
    needed = "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required
    cutoff = measure.params.get("cutoff", None if needed else 1)
    if type(cutoff) is not int or cutoff < 1:
        raise ValueError(f"the cutoff must be a whole number from 1, as in {measure.NAME}@10")


def _providers() -> Any:
    """Those of ir-measures but gdeval, a Perl program that takes only queries named by numbers."""
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
