"""What is put is got, by every process, up to the limit."""

import logging
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from datamodules import store
from datamodules.store import MIB, SharedStore


def test_what_is_put_is_got_unchanged_and_read_only() -> None:
    kept = SharedStore(3, MIB)
    arrays = {"a": np.arange(30, dtype=np.uint8).reshape(2, 5, 3), "b": np.array([1.5, -2.0]), "c": None}
    assert kept.get(1) is None
    assert kept.put(1, (("a.jpg", 5), arrays))
    version, found = kept.get(1)
    assert version == ("a.jpg", 5)
    assert found["c"] is None
    for name in "ab":
        np.testing.assert_array_equal(found[name], arrays[name])
        assert not found[name].flags.writeable
    assert kept.get(0) is kept.get(2) is None


def test_a_slot_holds_what_was_put_last() -> None:
    kept = SharedStore(2, MIB)
    for k in range(4):
        kept.put(0, np.full(100, k))
        kept.put(1, -k)
    assert kept.get(0).tolist() == [3] * 100
    assert kept.get(1) == -3


def test_the_limit_is_kept_and_told(caplog: pytest.LogCaptureFixture) -> None:
    kept, image = SharedStore(20, 10_000), np.zeros(3000, np.uint8)
    with caplog.at_level(logging.INFO):
        found = [kept.put(k, image) for k in range(20)]
    assert found == [True] * 3 + [False] * 17
    assert kept.used <= 10_000
    assert [kept.get(k) is not None for k in range(5)] == [True] * 3 + [False] * 2
    assert len(caplog.records) == 1
    assert "data.cache_mib" in caplog.text
    # Something small still fits.
    assert kept.put(19, 1)


def test_none_for_no_bytes_and_for_more_than_there_are(caplog: pytest.LogCaptureFixture) -> None:
    for limit in (0, 2**62):
        kept = SharedStore(2, limit)
        assert not kept.put(0, 1)
        assert kept.get(0) is None
    assert "cannot be reserved" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_forked_processes_share_it() -> None:
    kept = SharedStore(8, MIB)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=kept.put, args=(k, np.full(1000, k))) for k in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [int(kept.get(k)[0]) for k in range(3)] == [0, 1, 2]


def test_a_process_that_cannot_share_has_its_part_of_the_limit() -> None:
    kept = SharedStore(3, 8 * MIB, copies=4)
    kept.put(0, 1)
    other = pickle.loads(pickle.dumps(kept))
    assert (other.limit, other.slots, other.get(0)) == (2 * MIB, 3, None)


def test_the_default_is_a_quarter_of_what_machine_and_container_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < store.default_limit() <= store.available_memory()
    monkeypatch.setattr(store, "_of_machine", lambda: 8 * 2**30)
    monkeypatch.setattr(store, "_of_container", lambda: [4 * 2**30])
    assert store.default_limit() == 2**30
    monkeypatch.setattr(store, "_of_container", lambda: [-5])
    assert store.default_limit() == 0
    monkeypatch.setattr(store, "_of_machine", lambda: None)
    monkeypatch.setattr(store, "_of_container", list)
    assert store.default_limit() == 0
