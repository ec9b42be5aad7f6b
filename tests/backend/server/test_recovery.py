"""Processes die in the middle of a job, and nothing is lost, doubled or different."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import MienError
from backend.server.result_log import ResultLog, pack_record
from backend.server.runners import JobContext, run_diagnostic_job
from shared import messages as m
from shared.session import Timing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers through /proc")

JOB = m.DiagnosticJob(steps=60, size=16, seed=11, pause_s=0.01)
SLOW_JOB = m.DiagnosticJob(steps=60, size=16, seed=11, pause_s=0.04)
"""The same results, and time enough to kill something before the last of them."""
QUICK = Timing(ping_s=0.1, silence_s=0.6, backoff_s=0.05)


def expected_values() -> list[np.ndarray]:
    values: list[np.ndarray] = []

    def emit(event: Any) -> None:
        if isinstance(event, m.DiagnosticResult):
            values.append(event.values)

    job = m.DiagnosticJob(steps=JOB.steps, size=JOB.size, seed=JOB.seed)
    run_diagnostic_job(job, JobContext(emit, lambda: False, "cpu", ()))
    return values


def assert_each_once(events: list[Any]) -> None:
    results = [e for e in events if isinstance(e, m.JobResult)]
    assert [r.sequence for r in results] == list(range(1, JOB.steps + 2))
    assert isinstance(results[-1], m.JobDone)
    for ours, result in zip(expected_values(), results[:-1], strict=True):
        np.testing.assert_array_equal(result.values, ours)


def test_workers_killed_in_the_middle(service: Any) -> None:
    rng = random.Random(2)
    for _ in range(4):
        events: list[Any] = []
        kill_at = {rng.randrange(2, 30), rng.randrange(30, 60)}

        def on_event(event: Any, events: list[Any] = events, kill_at: Any = kill_at) -> None:
            events.append(event)
            if isinstance(event, m.DiagnosticResult) and event.sequence in kill_at:
                kill_at.discard(event.sequence)
                service.kill_worker()

        service.track(JOB, on_event)
        assert_each_once(events)
        assert not kill_at


def test_a_killed_worker_costs_little_time(service: Any) -> None:
    times: list[float] = []

    def on_event(event: Any) -> None:
        if isinstance(event, m.DiagnosticResult):
            times.append(time.monotonic())
            if event.sequence == 20:
                service.kill_worker()

    service.track(JOB, on_event)
    assert max(np.diff(times)) < 30.0  # a second, on a machine with nothing else to do


def test_the_supervisor_killed_and_started_again(new_service: Any) -> None:
    own = new_service()
    own.start()
    events: list[Any] = []
    restarts: list[threading.Thread] = []

    def restart() -> None:
        time.sleep(0.3)
        own.start()

    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, m.DiagnosticResult) and event.sequence == 25 and not restarts:
            own.kill()
            restarts.append(threading.Thread(target=restart))
            restarts[0].start()

    own.track(SLOW_JOB, on_event, timing=QUICK)
    restarts[0].join()
    assert_each_once(events)
    assert sum(isinstance(e, m.Welcome) for e in events) >= 2


def test_a_rerun_that_differs_replaces_what_the_client_had(
    new_service: Any, wait_until: Any
) -> None:
    own = new_service()
    own.start()
    job_id, changed = m.new_job_id(), 10
    events: list[Any] = []
    restarts: list[threading.Thread] = []

    def restart(worker: int) -> None:
        wait_until(lambda: not _runs(worker))  # it notices, and gives the results up
        change_result(own.settings.jobs_directory / job_id, changed)
        own.start()

    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, m.DiagnosticResult) and event.sequence == 25 and not restarts:
            (worker,) = own.worker_pids()
            own.kill()
            restarts.append(threading.Thread(target=restart, args=(worker,)))
            restarts[0].start()

    own.track(SLOW_JOB, on_event, job_id=job_id, timing=QUICK)
    restarts[0].join()
    results = [e for e in events if isinstance(e, m.JobResult)]
    first = [r.sequence for r in results if r.attempt == 1]
    second = [r.sequence for r in results if r.attempt == 2]
    assert first == list(range(1, len(first) + 1)) and len(first) >= 25
    assert second == list(range(changed, JOB.steps + 2))
    kept = {r.sequence: r for r in results}
    for ours, sequence in zip(expected_values(), range(1, JOB.steps + 1), strict=True):
        np.testing.assert_array_equal(kept[sequence].values, ours)


def change_result(folder: Path, sequence: int) -> None:
    """Make a stored result another one, as a computer that rounds otherwise would have."""
    (path,) = folder.glob("results-*.bin")
    with ResultLog(path) as log:
        records = [log.read(index) for index in range(log.refresh(verify=True))]
    packed = []
    for number, record in enumerate(records, start=1):
        frames = list(record.frames)
        if number == sequence:
            frames[2] = (np.frombuffer(frames[2]) + 1e-9).tobytes()
        packed.append(pack_record(record.attempt, frames))
    path.write_bytes(b"".join(packed))


def test_workers_end_with_a_killed_supervisor(new_service: Any, wait_until: Any) -> None:
    own = new_service()
    own.start()
    (worker,) = wait_until(own.worker_pids)
    own.kill()
    wait_until(lambda: not _runs(worker))


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_client_that_left_finds_everything_when_it_comes_back(service: Any) -> None:
    first = service.client()
    first.hello()
    job_id = m.new_job_id()
    first.send(m.SubmitJob(job_id=job_id, job=JOB))
    while first.receive_until(m.DiagnosticResult).sequence < 10:
        pass
    first.close()
    second = service.client()
    second.hello()
    second.send(m.SubmitJob(job_id=job_id, job=JOB, attempt=1, after=10))
    sequences = [second.receive_until(m.DiagnosticResult).sequence for _ in range(50)]
    assert sequences == list(range(11, 61))
    assert second.receive_until(m.JobDone).sequence == 61


def test_a_job_that_kills_every_worker_fails(service: Any) -> None:
    killed: list[int] = []

    def on_event(event: Any) -> None:
        if isinstance(event, m.JobStatus) and event.state == "running":
            killed.append(service.kill_worker())

    with pytest.raises(MienError, match="SIGKILL, 3 times") as caught:
        service.track(m.DiagnosticJob(steps=1, pause_s=60), on_event)
    assert caught.value.code == "internal"
    assert 3 <= len(set(killed)) <= 4  # one more where the first still stored its result
    assert service.track(m.DiagnosticJob(steps=2)).n_frames == 2


def test_a_worker_that_does_not_stop_is_replaced(new_service: Any) -> None:
    own = new_service(cancel_grace_s=0.3)
    own.start()
    client = own.client()
    client.hello()
    job_id = m.new_job_id()
    client.send(m.SubmitJob(job_id=job_id, job=m.DiagnosticJob(steps=1000, pause_s=0.05)))
    client.receive_until(m.DiagnosticResult)
    (frozen,) = own.worker_pids()
    os.kill(frozen, signal.SIGSTOP)
    client.send(m.CancelJob(job_id=job_id))
    assert client.receive_until(m.JobCancelled).job_id == job_id
    assert own.track(m.DiagnosticJob(steps=2)).n_frames == 2


def test_a_worker_that_hangs_is_replaced_and_its_job_goes_on(new_service: Any) -> None:
    own = new_service(worker_silence_s=8.0)
    own.start()
    events: list[Any] = []

    def on_event(event: Any) -> None:
        events.append(event)
        if isinstance(event, m.DiagnosticResult) and event.sequence == 20:
            os.kill(own.worker_pids()[0], signal.SIGSTOP)

    own.track(JOB, on_event)
    assert_each_once(events)


def test_a_full_disk_ends_the_job_with_the_reason_and_nothing_else(new_service: Any) -> None:
    import resource

    own = new_service()
    own.start()
    limit = (300_000, 300_000)
    for pid in (own.process.pid, *own.worker_pids()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    events: list[Any] = []
    with pytest.raises(MienError, match="OSError") as caught:
        own.track(m.DiagnosticJob(steps=50, size=64), events.append)
    assert caught.value.code == "internal"
    stored = [e.sequence for e in events if isinstance(e, m.DiagnosticResult)]
    assert stored == list(range(1, 300_000 // (64 * 64 * 8) + 1))
    assert own.track(m.DiagnosticJob(steps=5, size=64)).n_frames == 5
