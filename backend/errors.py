"""The errors that a user can act on, each with the exit code that a farm tells apart."""

from __future__ import annotations


class MienError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code: int = 1
    code: str = "error"


class BadInputError(MienError):
    """The footage or a setting cannot be used."""

    exit_code = 2
    code = "bad_input"


class NoFaceError(MienError):
    """No frame of the footage shows a face that could be found."""

    exit_code = 3
    code = "no_face"


class CancelledError(MienError):
    """The user, or a farm, asked for the work to stop."""

    exit_code = 4
    code = "cancelled"


class OutOfMemoryError(MienError):
    """The device ran out of memory."""

    exit_code = 5
    code = "out_of_memory"


class MissingWeightsError(MienError):
    """A file of the installed package, such as the head or the detector's weights, is missing."""

    exit_code = 6
    code = "missing_weights"
