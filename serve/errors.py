"""Why a service does not do what it is asked to, each with its HTTP status."""

from __future__ import annotations

from ortist.engine import OrtistError


class ServiceError(OrtistError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which it may be different, None where it will not.
    """

    status = 400
    retry_after: int | None = None


class UnknownJobError(ServiceError):
    """There is no such job, or none any more."""

    status = 404


class ConflictError(ServiceError):
    """A job is not in the state for this."""

    status = 409


class TooLargeError(ServiceError):
    """More than the service takes on, whenever it is asked."""

    status = 413


class TooManyError(ServiceError):
    """A client has too many jobs."""

    status = 429
    retry_after = 10


class BusyError(ServiceError):
    """There is too much to do, or no memory for this now."""

    status = 503
    retry_after = 10
