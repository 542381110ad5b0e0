"""Test files of arrays against files assembled by hand, and with every byte of a file damaged."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from semsearch import files
from semsearch.stores.local.array_file import ArrayFile, open_arrays, writing_arrays

ROWS, IDS = np.arange(6, dtype=np.float32).reshape(3, 2) / 4, np.array([7, 8, 12])


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 64)


def assembled(arrays: dict[str, Any] | None = None, about: Any = None, **changes: Any) -> tuple[bytes, int]:
    """Return the bytes of a file with ROWS and IDS, and its digest; `changes` replace fields of the entry of IDS."""
    rows, ids = padded(struct.pack("<6f", 0, 0.25, 0.5, 0.75, 1, 1.25)), padded(struct.pack("<3q", 7, 8, 12))
    entries: dict[str, Any] = {
        "rows": {"dtype": "<f4", "shape": [3, 2], "at": 64, "crc": zlib.crc32(rows)},
        "ids": {"dtype": "<i8", "shape": [3], "at": 128, "crc": zlib.crc32(ids)} | changes,
    }
    footer = json.dumps({"about": about or {"kind": "test"}, "arrays": arrays or entries}).encode()
    crc = zlib.crc32(footer)
    return padded(b"semarrs1") + rows + ids + footer + struct.pack("<2Q", 192, crc), crc


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays"


def test_what_is_written_is_the_file_assembled_by_hand_and_is_read_again(path):
    about = {"kind": "te"}
    with writing_arrays(path, about) as out:
        out.stream("rows", "<f4", (3, 2), (row[None] for row in ROWS))
        assert np.array_equal(out.reader("rows")([2, 0]), ROWS[[2, 0]])
        out.add("ids", IDS)
        about["kind"] = "test"
    data, digest = assembled()
    assert path.read_bytes() == data
    assert out.digest == digest
    file = open_arrays(path, digest)
    assert (file.about, file.names) == ({"kind": "test"}, ("rows", "ids"))
    assert np.array_equal(file.array("rows"), ROWS)
    assert np.array_equal(file.array("ids"), IDS)
    assert file.array("others") is None
    assert file.reader("rows")([2, 0, 2]).tolist() == [[1, 1.25], [0, 0.25], [1, 1.25]]
    assert file.reader("rows")([]).shape == (0, 2)
    with pytest.raises(ValueError, match="read-only"):
        file.array("ids")[0] = 1


def test_arrays_of_every_type_and_empty_ones_are_kept(path):
    arrays = {dtype: np.array([[1], [2]], dtype) for dtype in ("|u1", "<u2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4")}
    arrays["none"] = np.empty((0, 5), np.float32)
    with writing_arrays(path, {}) as out:
        for name, array in arrays.items():
            out.add(name, array)
    file = open_arrays(path, out.digest)
    for name, array in arrays.items():
        found = file.array(name)
        assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())


def contents(file: ArrayFile | None) -> list[Any] | None:
    return file and [None if (array := file.array(name)) is None else array.tolist() for name in ("rows", "ids")]


def test_a_flipped_bit_anywhere_is_noticed(path):
    data, digest = assembled()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        found = contents(open_arrays(path, digest))
        assert found is None or None in found, place


@pytest.mark.parametrize("n", [0, 1, 63, 64, 100, 192, -1, -16])
def test_a_truncated_file_is_none(path, n):
    data, digest = assembled()
    path.write_bytes(data[:n])
    assert open_arrays(path, digest) is None


MALFORMED = {
    "another type": {"dtype": "|O"},
    "a type that is no text": {"dtype": 7},
    "more rows than there are": {"shape": [30]},
    "a huge shape": {"shape": [2**40, 2**40]},
    "a negative shape": {"shape": [-3]},
    "a shape that is no number": {"shape": [3.0]},
    "a shape that is no list": {"shape": 3},
    "overlapping": {"at": 64},
    "outside": {"at": 2**62},
    "not aligned": {"at": 129},
    "a place that is true": {"at": True},
    "a checksum that is no number": {"crc": "1"},
}


@pytest.mark.parametrize("changes", MALFORMED.values(), ids=MALFORMED)
def test_a_description_that_cannot_be_is_none_even_with_the_right_digest(path, changes):
    data, digest = assembled(**changes)
    path.write_bytes(data)
    assert open_arrays(path, digest) is None


@pytest.mark.parametrize("wrong", [{"arrays": [1]}, {"arrays": {"rows": 3}}, {"about": [1]}, {"about": "text"}])
def test_a_description_of_the_wrong_type_is_none(path, wrong):
    data, digest = assembled(**wrong)
    path.write_bytes(data)
    assert open_arrays(path, digest) is None


def test_another_digest_is_another_file(path):
    data, digest = assembled()
    path.write_bytes(data)
    assert open_arrays(path, digest ^ 1) is None
    assert open_arrays(path.with_name("missing"), digest) is None


def test_rows_are_read_where_the_system_cannot_read_at_a_position(path, monkeypatch):
    data, digest = assembled()
    path.write_bytes(data)
    monkeypatch.delattr(os, "pread")
    assert open_arrays(path, digest).reader("rows")([1]).tolist() == [[0.5, 0.75]]


@pytest.mark.parametrize("planted", ["a folder", "a link", "a pipe", "a device"])
def test_only_a_regular_file_is_read(tmp_path, path, planted):
    data, digest = assembled()
    (tmp_path / "elsewhere").write_bytes(data)
    if planted == "a folder":
        path.mkdir()
    elif planted == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere" if planted == "a link" else "/dev/zero")
    assert open_arrays(path, digest) is None


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), writing_arrays(tmp_path / "arrays", {}) as out:
        out.add("ids", IDS)
    assert os.listdir(tmp_path) == []
