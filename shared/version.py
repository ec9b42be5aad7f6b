"""The version of the software and of the protocol, in one place for both sides."""

__version__ = "0.1.0"
"""Version of Mien: the package, the add-on and the command line are released together."""

PROTOCOL_MAJOR = 1
"""Raised when an older peer would misread a message; a peer with another major is refused."""

PROTOCOL_MINOR = 2
"""Raised when fields or messages are added; peers ignore fields that they do not know."""
