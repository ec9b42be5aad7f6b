"""The running service, as clients meet it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.device import device_name, processor_name
from backend.errors import BadInputError, CancelledError, MienError
from backend.server.runners import JobContext, run_diagnostic_job
from backend.server.settings import ServeSettings
from backend.server.supervisor import main
from shared import messages as m
from shared.codec import VERSION_FRAME, decode_from_server, encode
from shared.version import PROTOCOL_MAJOR

SMALL = m.DiagnosticJob(steps=20, size=8, seed=3)


def computed_here(job: m.DiagnosticJob) -> list[np.ndarray]:
    values: list[np.ndarray] = []

    def emit(event: Any) -> None:
        if isinstance(event, m.DiagnosticResult):
            values.append(event.values)

    run_diagnostic_job(job, JobContext(emit, lambda: False, "cpu", ()))
    return values


def test_a_job_names_its_device_where_it_is_asked_to(service: Any) -> None:
    asked = m.DiagnosticJob(steps=1, size=8, name_device=True)
    named = service.track(asked, lambda event: None).device
    assert named == device_name(torch.device("cpu"))
    assert processor_name() in named and "CPU" in named and "threads" in named


def test_a_job_streams_its_results_in_order(service: Any) -> None:
    events: list[Any] = []
    done = service.track(SMALL, events.append)
    results = [e for e in events if isinstance(e, m.DiagnosticResult)]
    assert [r.sequence for r in results] == list(range(1, 21))
    assert [r.step for r in results] == list(range(20))
    for ours, theirs in zip(computed_here(SMALL), results, strict=True):
        np.testing.assert_array_equal(theirs.values, ours)
    assert done.sequence == 21
    states = [e.state for e in events if isinstance(e, m.JobStatus)]
    assert states == sorted(states, key=["queued", "running", "done"].index)
    assert any(isinstance(e, m.Progress) for e in events)


def test_a_finished_job_is_sent_again_and_not_run_again(service: Any) -> None:
    job_id = m.new_job_id()
    first: list[Any] = []
    again: list[Any] = []
    service.track(SMALL, first.append, job_id=job_id)
    log = next((service.settings.jobs_directory / job_id).glob("results-*.bin"))
    written = log.stat().st_mtime_ns
    service.track(SMALL, again.append, job_id=job_id)
    assert log.stat().st_mtime_ns == written
    one, two = ([e for e in es if isinstance(e, m.JobResult)] for es in (first, again))
    assert [e.sequence for e in one] == [e.sequence for e in two]
    assert [bytes(f) for e in one for f in encode(e)] == [bytes(f) for e in two for f in encode(e)]


def test_an_identifier_belongs_to_one_job(service: Any) -> None:
    job_id = m.new_job_id()
    service.track(SMALL, job_id=job_id)
    with pytest.raises(BadInputError, match="different"):
        service.track(m.DiagnosticJob(steps=1), job_id=job_id)


def test_the_connection_file_is_private(service: Any) -> None:
    path = service.settings.connection_file
    assert service.info.address.startswith("tcp://127.0.0.1:")
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_wrong_token_and_none_are_refused(service: Any) -> None:
    for hello in (m.Hello(token="guess"), m.Hello(), m.Hello(token="é漢")):
        client = service.client()
        client.send(hello)
        assert client.receive().code == "unauthorised"
        client.send(m.SubmitJob(job_id=m.new_job_id(), job=SMALL))
        assert client.receive().code == "unauthorised"


def test_a_failed_hello_ends_an_earlier_authorisation(service: Any) -> None:
    client = service.client()
    client.hello()
    client.send(m.Hello(token="guess"))
    assert client.receive().code == "unauthorised"
    client.send(m.Ping())
    assert client.receive().code == "unauthorised"


def test_the_command_lines_client_names_a_wrong_token(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.server.client import track_remote

    monkeypatch.setenv("MIEN_TOKEN", "guess")
    with pytest.raises(MienError, match="token") as caught:
        track_remote(service.info.address, SMALL, lambda event: None)
    assert caught.value.code == "unauthorised"
    monkeypatch.setenv("MIEN_TOKEN", service.info.token)
    assert track_remote(service.info.address, SMALL, lambda event: None).n_frames == 20


def test_another_major_version_is_told_so(service: Any) -> None:
    client = service.client()
    client.socket.send_multipart([b"MIEN" + bytes([PROTOCOL_MAJOR + 1]), b"{}"])
    error = client.receive()
    assert error.code == "protocol"
    assert f"version {PROTOCOL_MAJOR + 1}" in error.message


def test_pings_are_answered_with_the_boot_id(service: Any) -> None:
    client = service.client()
    welcome = client.hello()
    assert welcome.boot_id == service.info.boot_id
    assert set(welcome.job_kinds) >= {"track", "refine", "diagnostic"}
    client.send(m.Ping(nonce=77))
    assert client.receive() == m.Pong(nonce=77, boot_id=welcome.boot_id)


@pytest.mark.parametrize(
    ("clip", "code"),
    [
        ("/etc/passwd", "path_forbidden"),
        ("{clips}/../../outside.mp4", "path_forbidden"),
        ("{clips}/link.mp4", "path_forbidden"),
        ("{clips}/linked/a.mp4", "path_forbidden"),
        ("http://example.com/a.mp4", "path_forbidden"),
        ("file:///etc/passwd", "path_forbidden"),
        ("a.mp4", "bad_input"),
        ("{clips}/missing.mp4", "bad_input"),
    ],
)
def test_clips_outside_of_the_roots_are_refused(service: Any, clip: str, code: str) -> None:
    outside = service.folder / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "a.mp4").touch()
    for name, target in (("link.mp4", outside / "a.mp4"), ("linked", outside)):
        if not (service.clips / name).is_symlink():
            (service.clips / name).symlink_to(target)
    with pytest.raises(MienError) as caught:
        service.track(m.TrackJob(clip=clip.format(clips=service.clips)))
    assert caught.value.code == code


def test_cancelling_is_acknowledged_at_once_and_ends_the_job(service: Any) -> None:
    client = service.client()
    client.hello()
    job_id = m.new_job_id()
    client.send(m.SubmitJob(job_id=job_id, job=m.DiagnosticJob(steps=1000, pause_s=0.05)))
    client.receive_until(m.DiagnosticResult)
    began = time.monotonic()
    client.send(m.CancelJob(job_id=job_id))
    while client.receive_until(m.JobStatus).state != "cancelling":
        pass
    assert client.receive_until(m.JobCancelled).job_id == job_id
    # The job itself would take 50 s.
    assert time.monotonic() - began < 20.0


def test_a_waiting_job_is_cancelled_without_running(service: Any) -> None:
    client = service.client()
    client.hello()
    running, waiting = m.new_job_id(), m.new_job_id()
    client.send(m.SubmitJob(job_id=running, job=m.DiagnosticJob(steps=1000, pause_s=0.05)))
    client.receive_until(m.DiagnosticResult)
    client.send(m.SubmitJob(job_id=waiting, job=SMALL))
    assert client.receive_until(m.JobStatus).state == "queued"
    client.send(m.CancelJob(job_id=waiting))
    cancelled = client.receive_until(m.JobCancelled)
    assert (cancelled.job_id, cancelled.sequence) == (waiting, 1)
    client.send(m.CancelJob(job_id=running))
    assert client.receive_until(m.JobCancelled).job_id == running


def test_the_command_line_can_cancel(service: Any) -> None:
    events: list[Any] = []
    with pytest.raises(CancelledError):
        service.track(
            m.DiagnosticJob(steps=1000, pause_s=0.05),
            events.append,
            cancelled=lambda: any(isinstance(e, m.DiagnosticResult) for e in events),
        )
    assert isinstance(events[-1], m.JobCancelled)


def test_cancelling_what_does_not_exist_is_an_error(service: Any) -> None:
    client = service.client()
    client.hello()
    job_id = m.new_job_id()
    client.send(m.CancelJob(job_id=job_id))
    error = client.receive()
    assert (error.code, error.job_id) == ("bad_input", job_id)


def test_two_clients_may_follow_one_job(service: Any) -> None:
    first, second = service.client(), service.client()
    job_id = m.new_job_id()
    job = m.DiagnosticJob(steps=30, size=4, pause_s=0.01)
    for client in (first, second):
        client.hello()
        client.send(m.SubmitJob(job_id=job_id, job=job))
    for client in (first, second):
        sequences = [client.receive_until(m.DiagnosticResult).sequence for _ in range(30)]
        assert sequences == list(range(1, 31))
        assert client.receive_until(m.JobDone).sequence == 31


def test_a_client_that_reads_nothing_does_not_hold_up_another(service: Any) -> None:
    # 100 results of 2 MiB: far more than sockets and windows can hold.
    greedy = service.client()
    greedy.hello()
    job_id = m.new_job_id()
    greedy.send(m.SubmitJob(job_id=job_id, job=m.DiagnosticJob(steps=100, size=512)))
    greedy.receive_until(m.JobStatus)
    other = service.client()
    other.hello()
    slowest = 0.0
    for nonce in range(40):
        began = time.monotonic()
        other.send(m.Ping(nonce=nonce))
        other.receive_until(m.Pong)
        slowest = max(slowest, time.monotonic() - began)
    began = time.monotonic()
    assert service.track(SMALL).n_frames == 20
    assert time.monotonic() - began < 30.0
    assert slowest < 5.0  # milliseconds, on a machine with nothing else to do
    # Unread, it was sent no more than the window holds; read and acknowledged, it gets the rest.
    received = 0
    while received < 100:
        result = greedy.receive_until(m.DiagnosticResult)
        received += 1
        assert result.sequence == received
        greedy.send(m.Acknowledge(job_id=job_id, attempt=1, sequence=received))
    assert greedy.receive_until(m.JobDone).sequence == 101


def test_results_wait_for_acknowledgement(service: Any) -> None:
    from backend.server.subscribers import WINDOW_RESULTS

    client = service.client()
    client.hello()
    job = m.DiagnosticJob(steps=WINDOW_RESULTS + 20, size=1)
    job_id = m.new_job_id()
    client.send(m.SubmitJob(job_id=job_id, job=job))
    for sequence in range(1, WINDOW_RESULTS + 1):
        assert client.receive_until(m.DiagnosticResult).sequence == sequence
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        if client.socket.poll(100):
            assert not isinstance(client.receive(), m.DiagnosticResult)
    client.send(m.Acknowledge(job_id=job_id, attempt=1, sequence=1))
    assert client.receive_until(m.DiagnosticResult).sequence == WINDOW_RESULTS + 1


def test_thousands_of_malformed_messages_and_then_a_job(service: Any) -> None:
    rng = random.Random(5)
    client = service.client()
    client.hello()
    seeds = [
        [bytes(frame) for frame in encode(message)]
        for message in (
            m.Hello(token=service.info.token),
            m.SubmitJob(job_id=m.new_job_id(), job=m.TrackJob(clip="/a")),
            m.CancelJob(job_id=m.new_job_id()),
            m.Acknowledge(job_id=m.new_job_id(), attempt=1, sequence=1),
            m.Ping(),
        )
    ]
    for _ in range(4000):
        frames = list(rng.choice(seeds))
        kind = rng.randrange(5)
        victim = rng.randrange(len(frames))
        if kind == 0:
            frames = [rng.randbytes(rng.randrange(40)) for _ in range(rng.randint(1, 20))]
        elif kind == 1:
            frames[victim] = frames[victim][: rng.randrange(len(frames[victim]))]
        elif kind == 2:
            at = rng.randrange(len(frames[victim]))
            frames[victim] = frames[victim][:at] + rng.randbytes(3) + frames[victim][at + 1 :]
        elif kind == 3:
            frames = [VERSION_FRAME, rng.choice([b"[" * 5000, b'{"a":' * 3000, b"\xff" * 99])]
        else:
            frames.append(rng.randbytes(100))
        client.socket.send_multipart(frames)
        while client.socket.poll(0):
            decode_from_server(client.socket.recv_multipart())
    assert service.process.poll() is None
    assert service.track(SMALL).n_frames == 20


def test_a_frame_above_the_limit_costs_only_its_own_connection(service: Any) -> None:
    client = service.client()
    client.hello()
    client.socket.send_multipart([VERSION_FRAME, b" " * 1_000_000])
    assert service.track(SMALL).n_frames == 20


def test_a_second_server_on_the_same_folder_is_refused(service: Any, new_service: Any) -> None:
    other = new_service(jobs_directory=service.settings.jobs_directory)
    with pytest.raises(BadInputError, match="already"):
        main(other.settings)


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    within = tmp_path / "file" / "within"
    places = {"jobs_directory": tmp_path / "jobs", "connection_file": tmp_path / "c.json"}
    for wrong in ({"jobs_directory": within}, {"connection_file": within}, {"make_key": within}):
        with pytest.raises(BadInputError, match=f"{within}: cannot be written"):
            main(ServeSettings(**{**places, **wrong}))
    with pytest.raises(BadInputError, match="no port 99999"):
        main(ServeSettings(**places, port=99999))
    assert not (tmp_path / "c.json").exists()


def test_it_stops_when_its_standard_input_closes(new_service: Any, wait_until: Any) -> None:
    own = new_service()
    own.start()
    (worker,) = wait_until(own.worker_pids)
    assert own.stop() == 0
    assert not own.settings.connection_file.exists()
    wait_until(lambda: not Path(f"/proc/{worker}").exists())


def test_it_stops_on_sigterm_while_it_watches_its_standard_input(
    new_service: Any, wait_until: Any
) -> None:
    own = new_service()
    own.start()
    (worker,) = wait_until(own.worker_pids)
    own.process.terminate()
    assert own.process.wait(60) == 0
    assert not own.settings.connection_file.exists()
    wait_until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_waiting_job_hears_that_it_moved_up(service: Any) -> None:
    client = service.client()
    client.hello()
    ids = [m.new_job_id() for _ in range(3)]
    for job_id in ids:
        client.send(m.SubmitJob(job_id=job_id, job=m.DiagnosticJob(steps=5, pause_s=0.1)))
    positions: list[int] = []
    state = ""
    while state != "done":
        message = client.receive()
        if isinstance(message, m.JobStatus) and message.job_id == ids[2]:
            state = message.state
            positions.append(message.queue_position)
    assert max(positions) >= 1 and positions == sorted(positions, reverse=True)


def test_the_supervisor_imports_no_torch() -> None:
    code = "import sys, backend.server.supervisor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
