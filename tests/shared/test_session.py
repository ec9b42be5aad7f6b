"""The client's logic, fed with frames and a clock of the test's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared import messages as m
from shared.codec import VERSION_FRAME, Decoder, encode
from shared.session import ClientSession, Connection, Timing

JOB = m.DiagnosticJob(steps=5)
decode = Decoder(m.CLIENT_MESSAGES)


class Talk:
    """A session, its clock, and what it said."""

    def __init__(self) -> None:
        self.session = ClientSession()
        self.now = 100.0

    def sent(self) -> list[Any]:
        return [decode(frames) for frames in self.session.outgoing()]

    def hear(self, *messages: m.Message) -> list[Any]:
        delivered: list[Any] = []
        for message in messages:
            delivered += self.session.receive(encode(message), self.now)
        return delivered

    def wait(self, seconds: float) -> list[Any]:
        self.now += seconds
        self.session.tick(self.now)
        return self.sent()

    def greet(self, boot_id: str = "boot 1") -> list[Any]:
        assert self.session.wants_socket(self.now)
        self.session.connected("secret", self.now)
        (hello,) = self.sent()
        assert hello.token == "secret"
        self.hear(m.Welcome(boot_id=boot_id))
        return self.sent()

    def reconnect(self, boot_id: str = "boot 1") -> list[Any]:
        self.now += 5.0
        return self.greet(boot_id)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def result(job_id: str, sequence: int, attempt: int = 1) -> m.DiagnosticResult:
    return m.DiagnosticResult(
        job_id=job_id, attempt=attempt, sequence=sequence, step=sequence, values=np.eye(2)
    )


def numbers(delivered: list[Any]) -> list[tuple[int, int]]:
    return [(message.attempt, message.sequence) for message in delivered]


def test_it_greets_first_and_submits_when_welcomed(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    assert talk.greet() == [m.SubmitJob(job_id=job_id, job=JOB)]
    other = talk.session.submit(JOB)
    assert talk.sent() == [m.SubmitJob(job_id=other, job=JOB)]


def test_results_arrive_once_in_order_and_are_acknowledged(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    delivered = talk.hear(*(result(job_id, n) for n in (1, 2, 2, 1, 3)))
    assert numbers(delivered) == [(1, 1), (1, 2), (1, 3)]
    assert talk.sent() == [m.Acknowledge(job_id=job_id, attempt=1, sequence=3)]
    (done,) = talk.hear(m.JobDone(job_id=job_id, attempt=1, sequence=4))
    assert isinstance(done, m.JobDone)
    assert talk.sent() == [m.Acknowledge(job_id=job_id, attempt=1, sequence=4)]
    assert talk.session.unfinished == ()
    assert talk.hear(m.JobDone(job_id=job_id, attempt=1, sequence=4)) == []


def test_duplicates_are_acknowledged_so_that_the_server_can_go_on(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    talk.hear(result(job_id, 1), result(job_id, 2))
    talk.sent()
    assert talk.hear(result(job_id, 1)) == []
    assert talk.sent() == [m.Acknowledge(job_id=job_id, attempt=1, sequence=2)]


def test_silence_brings_a_fresh_socket_and_the_job_goes_on(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    talk.hear(result(job_id, 1), result(job_id, 2))
    talk.sent()
    assert talk.wait(0.4) == []
    assert [type(x) for x in talk.wait(0.2)] == [m.Ping]
    assert talk.wait(2.4) == []
    assert talk.session.state == "ready"
    talk.wait(0.2)
    assert talk.session.state == "disconnected"
    assert not talk.session.wants_socket(talk.now)
    resubmitted = talk.reconnect("boot 2")
    assert resubmitted == [m.SubmitJob(job_id=job_id, job=JOB, attempt=1, after=2)]
    assert numbers(talk.hear(result(job_id, 2), result(job_id, 3))) == [(1, 3)]


def test_any_traffic_is_a_sign_of_life(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    talk.wait(1.0)
    talk.now += 2.4
    talk.hear(m.Progress(stage="detect", fraction=0.5, job_id=job_id))
    talk.wait(0.2)
    assert talk.session.state == "ready"


def test_a_busy_application_is_not_mistaken_for_a_dead_server(talk: Talk) -> None:
    talk.greet()
    (ping,) = talk.wait(60.0)
    assert isinstance(ping, m.Ping)
    assert talk.session.state == "ready"
    talk.hear(m.Pong(nonce=ping.nonce, boot_id="boot 1"))
    assert talk.session.state == "ready"


def test_a_server_that_does_not_welcome_is_tried_less_and_less_often(talk: Talk) -> None:
    pauses = []
    for _ in range(6):
        talk.session.connected("secret", talk.now)
        talk.now += 2.6
        talk.session.tick(talk.now)
        assert talk.session.state == "disconnected"
        lost = talk.now
        while not talk.session.wants_socket(talk.now):
            talk.now += 0.05
        pauses.append(round(talk.now - lost, 2))
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.25, abs=0.06)
    assert pauses[-1] == pytest.approx(2.0, abs=0.06)


def test_a_pong_of_another_boot_means_reconnecting(talk: Talk) -> None:
    talk.greet("boot 1")
    (ping,) = talk.wait(1.0)
    talk.hear(m.Pong(nonce=ping.nonce, boot_id="boot 2"))
    assert talk.session.state == "disconnected"


def test_unauthorised_after_the_welcome_is_a_restart_and_before_it_an_error(talk: Talk) -> None:
    refusal = m.Error(code="unauthorised", message="who are you?")
    talk.greet()
    assert talk.hear(refusal) == []
    talk.now += 5
    talk.session.connected("old token", talk.now)
    assert talk.hear(refusal) == [refusal]
    assert talk.session.state == "disconnected"


def test_a_refused_job_is_delivered_as_failed(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    (failed,) = talk.hear(m.Error(code="path_forbidden", message="no", job_id=job_id))
    assert isinstance(failed, m.JobFailed)
    assert (failed.code, failed.job_id) == ("path_forbidden", job_id)
    assert talk.session.unfinished == ()


def test_a_new_attempt_replaces_results_from_where_it_differs(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    first = talk.hear(*(result(job_id, n) for n in (1, 2, 3)))
    second = talk.hear(result(job_id, 2, attempt=2), result(job_id, 3, attempt=2))
    assert numbers(first + second) == [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3)]
    assert talk.hear(result(job_id, 4, attempt=1)) == []


def test_a_stored_job_of_several_attempts_is_taken_from_the_beginning(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    stored = [(1, 1), (1, 2), (2, 3), (4, 4)]
    delivered = talk.hear(*(result(job_id, n, attempt) for attempt, n in stored))
    assert numbers(delivered) == stored


def test_a_gap_makes_it_submit_again_once(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    talk.hear(result(job_id, 1))
    assert talk.hear(result(job_id, 3), result(job_id, 4)) == []
    again = [x for x in talk.sent() if isinstance(x, m.SubmitJob)]
    assert again == [m.SubmitJob(job_id=job_id, job=JOB, attempt=1, after=1)]
    talk.hear(m.JobStatus(job_id=job_id, state="running", attempt=1, n_results=4))
    assert numbers(talk.hear(result(job_id, 2), result(job_id, 3))) == [(1, 2), (1, 3)]


def test_a_server_that_lost_the_results_starts_over(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.greet()
    talk.hear(result(job_id, 1), result(job_id, 2, attempt=3))
    talk.hear(m.JobStatus(job_id=job_id, state="queued", attempt=1))
    assert numbers(talk.hear(result(job_id, 1), result(job_id, 2))) == [(1, 1), (1, 2)]


def test_cancelling_is_remembered_over_a_reconnection(talk: Talk) -> None:
    job_id = talk.session.submit(JOB)
    talk.session.cancel(job_id)
    assert talk.greet()[1:] == [m.CancelJob(job_id=job_id)]
    talk.session.disconnected(talk.now)
    assert talk.reconnect()[1:] == [m.CancelJob(job_id=job_id)]
    (last,) = talk.hear(m.JobCancelled(job_id=job_id, attempt=1, sequence=1))
    assert isinstance(last, m.JobCancelled)


def test_messages_about_other_jobs_are_stale(talk: Talk) -> None:
    talk.greet()
    stranger = m.new_job_id()
    assert talk.hear(result(stranger, 1), m.JobStatus(job_id=stranger, state="done")) == []
    job_id = talk.session.submit(JOB)
    talk.session.forget(job_id)
    assert talk.hear(result(job_id, 1)) == []


def test_another_major_version_is_reported(talk: Talk) -> None:
    talk.session.connected("secret", talk.now)
    frames = [VERSION_FRAME[:-1] + b"\x63", b"{}"]
    (error,) = talk.session.receive(frames, talk.now)
    assert error.code == "protocol" and "version 99" in error.message
    assert talk.session.state == "disconnected"


def test_it_answers_pings(talk: Talk) -> None:
    talk.greet()
    talk.hear(m.Ping(nonce=5))
    assert talk.sent() == [m.Pong(nonce=5)]


def test_a_connection_says_why_there_is_no_server() -> None:
    def open_socket() -> tuple[Any, str]:
        raise FileNotFoundError("no connection file")

    connection = Connection(ClientSession(timing=Timing()), open_socket)
    assert connection.poll() == []
    assert isinstance(connection.problem, FileNotFoundError)
    connection.close()
