"""What can go wrong between the user and the server, as sentences a user understands."""

from __future__ import annotations


class MedDenoiseError(Exception):
    """Something that the user has to be told.

    Attributes:
        advice: The way out as one sentence, or "".
    """

    def __init__(self, sentence: str = "", advice: str = "") -> None:
        """Takes one plain sentence that says what was wrong, with the host or the value in it, and the way out."""
        super().__init__(sentence)
        self.advice = advice


class AddressError(MedDenoiseError):
    """What was entered is no address of a server."""


class ConsentMissing(MedDenoiseError):
    """The user has not agreed to this host; nothing was sent."""

    def __init__(self, host: str) -> None:
        """Takes the host that was not agreed to."""
        super().__init__(
            f"You have not agreed to send images to {host}; nothing was sent.",
            f"Agree to {host} first, if it may see these images.",
        )
        self.host = host


class CannotConnect(MedDenoiseError):
    """Nobody answers there: refused, unknown host, no way to it, or no common TLS."""


class TimedOut(MedDenoiseError):
    """The server took too long to connect, to take the image or to answer."""


class UntrustedCertificate(MedDenoiseError):
    """The server's certificate is not trusted, expired, or another host's."""


class Unauthorized(MedDenoiseError):
    """401: no token, or one that the server does not know."""


class Forbidden(MedDenoiseError):
    """403: the token does not allow this, or the server does not serve this machine."""


class WrongService(MedDenoiseError):
    """Something else than a MedDenoise server answers there."""


class ProxyInBetween(MedDenoiseError):
    """A proxy, a gateway or a login page answers in the server's place."""


class TooOld(MedDenoiseError):
    """The server's version lacks what is needed."""


class Busy(MedDenoiseError):
    """429 or 503: the server has no room now.

    Attributes:
        retryAfter: Seconds after which to come back; None where the server does not ask to come back.
    """

    def __init__(self, sentence: str, advice: str = "", retryAfter: float | None = None) -> None:
        """Takes the sentence, the way out and the seconds."""
        super().__init__(sentence, advice)
        self.retryAfter = retryAfter


class Refused(MedDenoiseError):
    """Another 4xx: the server says in its own sentence what is wrong with the request.

    Attributes:
        status: The answer's; 0 where it was refused before it was sent.
    """

    def __init__(self, sentence: str = "", advice: str = "", status: int = 0) -> None:
        """Takes the sentence, the way out and the status."""
        super().__init__(sentence, advice)
        self.status = status


class ServerFailed(MedDenoiseError):
    """5xx: the server itself failed."""


class BrokenAnswer(MedDenoiseError):
    """The connection broke, or the answer is cut off or not what it should be."""


class CannotStore(MedDenoiseError):
    """The answer cannot be written on this machine, for example because the disk is full."""


class Canceled(MedDenoiseError):
    """The user ended it."""

    def __init__(self, sentence: str = "Canceled.", advice: str = "") -> None:
        """Takes another sentence where that says more."""
        super().__init__(sentence, advice)
