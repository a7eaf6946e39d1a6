"""Errors that are for the user to read, and the status with which the command then ends."""

from collections.abc import Generator
from contextlib import contextmanager


class CommandError(Exception):
    """Something failed; the text says what, and the command ends with `status`."""

    status = 1


class InputError(CommandError):
    """What the user gave cannot be used."""

    status = 2


@contextmanager
def told(*failures: type[Exception], bad_input: tuple[type[Exception], ...] = ()) -> Generator[None]:
    """Turn errors that are expected here, and whose text is for the user, into `CommandError` and `InputError`."""
    try:
        yield
    except bad_input as error:
        raise InputError(str(error)) from error
    except failures as error:
        raise CommandError(str(error)) from error
