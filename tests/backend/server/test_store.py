"""Results on disk: numbering, reruns, cut-off files, locks and pruning."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backend.server.internal import Stored
from backend.server.live_job import LiveJob
from backend.server.locks import FileLock
from backend.server.result_log import DamagedLogError, ResultLog, pack_record
from backend.server.store import JobFolder, JobStore, ResultWriter
from shared import messages as m
from shared.codec import decode_from_server

JOB_ID = "ab" * 16


def result(step: int, shift: float = 0.0) -> m.DiagnosticResult:
    return m.DiagnosticResult(step=step, values=np.full((3, 3), step + shift))


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    store = JobStore(tmp_path)
    created = store.create(JOB_ID, m.DiagnosticJob(), "test")
    store.close()
    return created


def stored(folder: JobFolder) -> list[tuple[int, int, float]]:
    """Attempt, sequence and value of each stored result."""
    current = folder.current_log()
    assert current is not None
    with ResultLog(current[2]) as log:
        messages = [decode_from_server(log.read(i).frames) for i in range(log.refresh())]
    return [(x.attempt, x.sequence, float(x.values[0, 0])) for x in messages]


def write(folder: JobFolder, *results: m.JobResult) -> list[bool]:
    with ResultWriter(folder, JOB_ID) as writer:
        return [writer.put(one) for one in results]


def test_results_are_numbered_and_read_back(folder: JobFolder) -> None:
    assert write(folder, result(0), result(1)) == [True, True]
    assert stored(folder) == [(1, 1, 0.0), (1, 2, 1.0)]
    assert folder.describe().job == m.DiagnosticJob()


def test_a_rerun_with_the_same_results_adds_only_what_is_new(folder: JobFolder) -> None:
    write(folder, result(0), result(1))
    assert write(folder, result(0), result(1), result(2)) == [False, False, True]
    assert stored(folder) == [(1, 1, 0.0), (1, 2, 1.0), (1, 3, 2.0)]


def test_a_rerun_that_differs_replaces_the_rest_under_a_new_attempt(folder: JobFolder) -> None:
    write(folder, *map(result, range(4)))
    assert write(folder, result(0), result(1, 0.5), result(2)) == [False, True, True]
    assert stored(folder) == [(1, 1, 0.0), (2, 2, 1.5), (2, 3, 2.0)]
    # What an earlier attempt left is compared under that attempt's number.
    assert write(folder, result(0), result(1, 0.5), result(2), result(3)) == [False] * 3 + [True]
    write(folder, result(0), result(1, 0.5), result(2, 0.25))
    assert stored(folder) == [(1, 1, 0.0), (2, 2, 1.5), (3, 3, 2.25)]
    assert len(list(folder.path.glob("results-*.bin"))) == 1


def test_a_reader_follows_a_new_attempt(folder: JobFolder) -> None:
    write(folder, *map(result, range(4)))
    live = LiveJob(JOB_ID, folder)
    assert live.n_results == 4 and live.read(4).attempt == 1
    write(folder, result(0), result(1, 0.5))
    live.stored(Stored(job_id=JOB_ID, attempt=2, start=2, n_results=2))
    assert [live.read(n).attempt for n in (1, 2)] == [1, 2]
    assert live.first_to_send(attempt=2, after=1) == 2
    assert live.first_to_send(attempt=1, after=4) == 2
    assert live.first_to_send(attempt=1, after=0) == 1
    assert live.first_to_send(attempt=0, after=0) == 1
    assert live.first_to_send(attempt=7, after=9) == 1
    live.close()


@pytest.mark.parametrize("lost", [1, 30, 100])
def test_a_record_that_was_cut_off_is_written_again(folder: JobFolder, lost: int) -> None:
    write(folder, result(0), result(1))
    _, _, path = folder.current_log() or (0, 0, Path())
    os.truncate(path, path.stat().st_size - lost)
    assert stored(folder) == [(1, 1, 0.0)]
    assert write(folder, result(0), result(1)) == [False, True]
    assert stored(folder) == [(1, 1, 0.0), (1, 2, 1.0)]


def test_a_damaged_record_is_noticed_when_read_and_replaced_when_written(
    folder: JobFolder,
) -> None:
    write(folder, result(0), result(1))
    _, _, path = folder.current_log() or (0, 0, Path())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with ResultLog(path) as log:
        assert log.refresh() == 2
        with pytest.raises(DamagedLogError, match="checksum"):
            log.read(1)
    assert write(folder, result(0), result(1)) == [False, True]
    assert stored(folder)[1] == (1, 2, 1.0)


def test_records_keep_any_frames(tmp_path: Path) -> None:
    path = tmp_path / "log"
    frames = [b"", b"a" * 1000, b"", memoryview(b"xyz")]
    path.write_bytes(pack_record(3, frames) + pack_record(4, []))
    with ResultLog(path) as log:
        assert log.refresh(verify=True) == 2
        assert log.read(0).frames == tuple(map(bytes, frames))
        assert (log.read(0).attempt, log.read(0).size) == (3, 1003)
        assert log.read(1).frames == ()


def test_the_end_of_a_job_is_noted_even_where_the_writer_died_before(folder: JobFolder) -> None:
    write(folder, result(0), m.JobDone(n_frames=1))
    final = folder.final_state()
    assert final is not None and (final.state, final.n_results) == ("done", 2)
    (folder.path / "state.json").unlink()
    with ResultWriter(folder, JOB_ID) as writer:
        assert writer.complete()
    assert folder.final_state() == final


def test_a_job_is_ended_without_its_worker(folder: JobFolder) -> None:
    write(folder, result(0))
    live = LiveJob(JOB_ID, folder)
    live.finish(m.JobFailed(code="internal", message="gone"))
    assert (live.state, live.n_results) == ("failed", 2)
    last = decode_from_server(live.read(2).frames)
    assert (last.code, last.sequence) == ("internal", 2)
    live.close()


def test_only_one_writer_at_a_time_and_a_dead_one_does_not_count(folder: JobFolder) -> None:
    code = (
        "import sys, time, pathlib; from backend.server.locks import FileLock;"
        f"lock = FileLock(pathlib.Path({str(folder.path / 'lock')!r}));"
        "print(lock.acquire(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"True\n"
        with pytest.raises(BlockingIOError):
            ResultWriter(folder, JOB_ID, lock_timeout_s=0.05)
        holder.kill()
        holder.wait()
        assert write(folder, result(0)) == [True]


def test_a_lock_waits_for_its_turn(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        began = time.monotonic()
        assert not FileLock(tmp_path / "lock").acquire(timeout_s=0.1)
        assert time.monotonic() - began >= 0.1
    assert FileLock(tmp_path / "lock").acquire()


def test_pruning_removes_old_and_large_jobs_but_none_in_use(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    ids = [f"{n:032x}" for n in range(4)]
    for age_days, job_id in enumerate(ids):
        path = store.create(job_id, m.DiagnosticJob(), "test").path
        (path / "results-0001-00000001.bin").write_bytes(bytes(1000))
        for entry in path.iterdir():
            os.utime(entry, (time.time() - age_days * 86400 - 60,) * 2)
    assert store.prune(keep_days=2.5, keep_gigabytes=1, in_use=()) == [ids[3]]
    assert store.prune(keep_days=9, keep_gigabytes=1.5e-6, in_use=(ids[2],)) == [ids[1]]
    assert store.find(ids[1]) is None and store.find(ids[2]) is not None
    store.empty_trash()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {ids[0], ids[2]}
    store.close()
