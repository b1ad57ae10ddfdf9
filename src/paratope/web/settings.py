"""What a server is started with, and its limits: every one of them in this file."""

import dataclasses
import ipaddress
from pathlib import Path

from paratope.core.errors import InputError

TOKEN_VARIABLE = "PARATOPE_TOKEN"  # the only way in for the token: not by a command's arguments
_SHORTEST_TOKEN = 16
MAX_ID, MAX_CHAIN, MAX_ANTIGEN = 200, 10_000, 50_000  # characters


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of what one client can ask for, and of what all can together."""

    pairs: int = 1_000  # of one request
    body_bytes: int = 16_000_000  # of a request that is no table
    table_bytes: int = 200_000_000  # of an uploaded table
    stored_bytes: int = 5_000_000_000  # of all tables and results
    waiting_rows: int = 5_000  # for the models, of all clients
    waiting_jobs: int = 100
    requests: int = 512  # under way at once
    connections: int = 2_000
    header_seconds: float = 15.0  # from a connection's first byte to the end of its headers
    body_seconds: float = 20.0  # without a byte of the body
    slowest_bytes_per_second: float = 20_000.0  # of a body, on average after `body_seconds`
    answer_seconds: float = 60.0  # a prediction may take
    job_seconds: float = 6 * 3600.0  # a job may run
    drain_seconds: float = 20.0  # for what is under way at SIGTERM
    table_days: float = 1.0  # that an upload is kept which no job has taken
    job_days: float = 30.0  # that a job's results are kept


@dataclasses.dataclass(frozen=True)
class ServeSettings:
    """How a server runs; raises `InputError` if that would be open to everybody.

    >>> ServeSettings(Path("kept"), host="0.0.0.0")
    Traceback (most recent call last):
        ...
    paratope.core.errors.InputError: other machines can reach 0.0.0.0, so a token is needed: set
    PARATOPE_TOKEN to at least 16 characters (such as from: openssl rand -hex 24), or leave --host
    """

    folder: Path  # private: uploads, jobs and their results
    models: tuple[str, ...] = ("default",)  # bundled names and folders
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()  # names in the Host header besides those of this machine
    log_sequences: bool = False
    job_processes: int = 1
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _SHORTEST_TOKEN:
            raise InputError(
                f"{TOKEN_VARIABLE} has {len(self.token)} characters; expected at least "
                f"{_SHORTEST_TOKEN}, such as from: openssl rand -hex 24"
            )
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"other machines can reach {self.host}, so a token is needed: set {TOKEN_VARIABLE} "
                f"to at least {_SHORTEST_TOKEN} characters (such as from: openssl rand -hex 24), "
                "or leave --host"
            )

    @property
    def hosts(self) -> frozenset[str]:
        """Names by which a request may call this server, without ports."""
        own = {"localhost", "127.0.0.1", "[::1]", self.host.lower()}
        return frozenset(own | {name.lower() for name in self.allowed_hosts})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
