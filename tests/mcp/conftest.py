"""Indexes that the tests serve to an assistant: the sample corpus and odd documents, with the word-hash encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from odd_documents import ODD

from semsearch import Index, WordHashEncoder

SAMPLE = Path(__file__).parents[2] / "corpora" / "sample"


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes") / "sample"
    with Index.open(folder, create=True, encoder=WordHashEncoder(4096)) as index:
        index.add(SAMPLE)
    return folder


@pytest.fixture(scope="session")
def sample(sample_folder: Path) -> Iterator[Index]:
    with Index.open(sample_folder) as index:
        yield index


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.open(tmp_path_factory.mktemp("odd") / "odd", create=True, encoder=WordHashEncoder(4096)) as index:
        index.add(ODD)
        yield index
