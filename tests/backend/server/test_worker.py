"""How errors in a job are told to the client."""

from __future__ import annotations

import pytest

from backend import errors
from backend.server.client import error_for
from backend.server.runners import RUNNERS, load_runner
from backend.server.worker import failure_of
from shared.messages import ERROR_CODES


class OutOfMemoryError(RuntimeError):
    """Named as torch's own."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInputError("a.mp4 is damaged"), "bad_input"),
        (errors.NoFaceError("nobody there"), "no_face"),
        (errors.CancelledError("stopped"), "cancelled"),
        (errors.OutOfMemoryError("full"), "out_of_memory"),
        (errors.MissingWeightsError("head.safetensors"), "missing_weights"),
        (MemoryError("full"), "out_of_memory"),
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (ZeroDivisionError("division by zero"), "internal"),
        (errors.MienError("something"), "internal"),
        (OSError(28, "No space left on device"), "internal"),
    ],
)
def test_errors_become_codes(error: Exception, code: str) -> None:
    failure = failure_of(error)
    assert failure.code == code
    assert str(error) in failure.message


@pytest.mark.parametrize("code", ERROR_CODES)
def test_codes_become_errors_again(code: str) -> None:
    error = error_for(code, "why")
    assert error.code == code and str(error) == "why"
    if code in ("bad_input", "path_forbidden"):
        assert error.exit_code == errors.BadInputError.exit_code


def test_a_very_long_message_still_fits() -> None:
    assert len(failure_of(errors.BadInputError("x" * 100_000)).message) <= 4000


def test_every_diagnostic_runner_can_be_imported() -> None:
    assert callable(load_runner("diagnostic"))
    assert set(RUNNERS) >= {"track", "refine", "diagnostic"}
