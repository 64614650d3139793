"""Arrays in memory and in files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ortist.engine.storage import BLOCK, IN_MEMORY, Storage, bands, blocks, release
from ortist.models.errors import OrtistError


@pytest.mark.parametrize("storage", [IN_MEMORY, Storage(mapped=True)])
def test_arrays_hold_what_is_written(storage: Storage) -> None:
    array, zeros = storage.empty((2, 3, 4)), storage.zeros((5,), np.int32)
    assert array.shape == (2, 3, 4)
    assert array.dtype == np.float32
    assert not zeros.any()
    array[:] = 7
    release(array, zeros, array[1:, ::2])
    assert (array == 7).all()
    assert storage.empty((0, 3)).shape == (0, 3)


@pytest.mark.parametrize("storage", [IN_MEMORY, Storage(mapped=True)])
def test_blocks_and_bands_are_all_of_an_array(storage: Storage) -> None:
    given = np.arange(2 * 300 * 401, dtype=np.float32).reshape(2, 300, 401)
    assert given.size > BLOCK
    array = storage.copy(given[:, ::-1])
    np.testing.assert_array_equal(array, given[:, ::-1])
    for one, other in blocks(array, given):
        one[:] = other + 1
    np.testing.assert_array_equal(array, given + 1)
    for rows in bands(array):
        assert array[0, rows].size <= BLOCK
        array[:, rows] -= 1
    np.testing.assert_array_equal(array, given)


def test_what_is_to_be_in_a_file_is_copied_there_once() -> None:
    array = np.ones((1, 3, 5, 7), np.float32)
    assert IN_MEMORY.kept(array) is array
    kept = Storage(mapped=True).kept(array)
    assert kept is not array
    np.testing.assert_array_equal(kept, array)
    assert Storage(mapped=True).kept(kept) is kept
    assert IN_MEMORY.kept(kept) is kept


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_released_arrays_take_no_memory() -> None:
    array = Storage(mapped=True).empty((50_000_000,))
    before = _resident()
    array[:] = 1
    assert _resident() - before > 150e6
    release(array[1:].reshape(-1, 1))
    assert _resident() - before < 20e6
    assert array[-1] == 1


def test_a_file_that_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OrtistError, match=r"no temporary file of 400 MB \(TMPDIR\): "):
        Storage(mapped=True).empty((10**8,))


def _resident() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return 4096 * float(pages)
