"""The two ways in which a command fails. The command line gives each its own exit code."""


class ServingError(Exception):
    """The work failed (exit code 1). The message says what failed and what to do next."""


class RequestError(ServingError):
    """The request cannot be carried out as given (exit code 2). Raised before any work starts."""
