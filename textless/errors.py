"""The one exception a user is meant to read."""


class UserError(Exception):
    """A bad file, configuration or combination of artefacts.

    The message is one line: what was found, what was expected, what to do. The command line prints it without a
    traceback and exits with status 2. Misuse of the Python API raises `ValueError` instead.
    """


class AudioError(UserError):
    """A recording that cannot be used; verbs that work on a corpus skip such a file, count it and list it."""
