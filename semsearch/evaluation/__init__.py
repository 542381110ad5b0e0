"""Evaluation of poolers, layers and transforms on STS data, retrieval data, transfer tasks, and a corpus alone.

`semsearch.compare_poolers` runs a whole comparison in one call. This package exports its parts; each name below is
imported from its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semsearch.evaluation.candidates import Candidate
    from semsearch.evaluation.geometry import Geometry, measure_geometry
    from semsearch.evaluation.label_free import evaluate_corpus
    from semsearch.evaluation.multi_pooler import MultiPooler
    from semsearch.evaluation.probes import cross_probe, probe
    from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
    from semsearch.evaluation.report import Report
    from semsearch.evaluation.retrieval import evaluate_retrieval
    from semsearch.evaluation.retrieval_data import load_retrieval
    from semsearch.evaluation.significance import Cell, Comparison
    from semsearch.evaluation.sts import evaluate_sts
    from semsearch.evaluation.sts_data import load_sts
    from semsearch.evaluation.studies import study_corpus, study_retrieval, study_sts, study_transfer
    from semsearch.evaluation.study import Study
    from semsearch.evaluation.transfer import evaluate_transfer
    from semsearch.evaluation.transfer_data import load_transfer
    from semsearch.evaluation.vector_cache import VectorCache

_HOMES = {
    "candidates": ("Candidate",),
    "geometry": ("Geometry", "measure_geometry"),
    "label_free": ("evaluate_corpus",),
    "multi_pooler": ("MultiPooler",),
    "probes": ("cross_probe", "probe"),
    "pseudo_queries": ("make_pseudo_tasks",),
    "report": ("Report",),
    "retrieval": ("evaluate_retrieval",),
    "retrieval_data": ("load_retrieval",),
    "significance": ("Cell", "Comparison"),
    "studies": ("study_corpus", "study_retrieval", "study_sts", "study_transfer"),
    "study": ("Study",),
    "sts": ("evaluate_sts",),
    "sts_data": ("load_sts",),
    "transfer": ("evaluate_transfer",),
    "transfer_data": ("load_transfer",),
    "vector_cache": ("VectorCache",),
}
_MODULES = {name: f"semsearch.evaluation.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "Candidate",
    "Cell",
    "Comparison",
    "Geometry",
    "MultiPooler",
    "Report",
    "Study",
    "VectorCache",
    "cross_probe",
    "evaluate_corpus",
    "evaluate_retrieval",
    "evaluate_sts",
    "evaluate_transfer",
    "load_retrieval",
    "load_sts",
    "load_transfer",
    "make_pseudo_tasks",
    "measure_geometry",
    "probe",
    "study_corpus",
    "study_retrieval",
    "study_sts",
    "study_transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch.evaluation' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__]
