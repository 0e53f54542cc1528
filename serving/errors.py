"""The two ways a command ends badly; the command line turns each into its own exit code."""


class ServingError(Exception):
    """Something failed while doing what was asked (exit code 1). The message says what, and what to do next."""


class RequestError(ServingError):
    """What was asked cannot be done as asked (exit code 2). Raised before any work starts."""
