"""Certificates of a receiver: read, checked, and read again when their files change.

Only new connections see new certificates. Files that cannot be used leave the old certificates in place.
"""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from config import Config
from config.transports import TlsSettings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_GRPC_SUITES: Final = "GRPC_SSL_CIPHER_SUITES"
_NO_TLS_1_2_SUITE: Final = "PSK-AES128-CBC-SHA"
"""A cipher suite that needs a secret shared beforehand, which there is none of; those of TLS 1.3 are always there."""

_log = structlog.get_logger("receiver")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files of one `tls` block hold, as PEM.

    Attributes:
        chain: the certificate and those above it.
        key: its private key.
        client_ca: authorities of clients; None = clients need no certificate.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files that fit together, also as a context for asyncio and HTTP/1.1."""

    contents: Contents
    context: ssl.SSLContext


def load(settings: TlsSettings) -> Certificates:
    """Read and check the files; raises OSError naming the one that cannot be used, and why."""
    contents = _read_all(settings)
    context = _context(settings)
    if _read_all(settings) != contents:
        raise OSError(f"{settings.cert_file} or what belongs to it changed while it was read")
    return Certificates(contents, context)


async def watch(settings: TlsSettings, current: Contents, use: Callable[[Certificates], Awaitable[None]]) -> None:
    """Hand changed files to `use`, for as long as it runs; what cannot be used twice is logged, and tried again.

    Args:
        settings: names the files, and says how often to look.
        current: what is in use.
        use: lets new connections use them.
    """
    complaint = told = ""
    while settings.reload_interval:
        await asyncio.sleep(settings.reload_interval)
        try:
            if await asyncio.to_thread(_read_all, settings) != current:
                certificates = await asyncio.to_thread(load, settings)
                await use(certificates)
                current = certificates.contents
                _log.info("New connections use the changed certificates.", cert_file=settings.cert_file)
            complaint = told = ""
        except OSError as error:
            if complaint == str(error) != told:  # not at once: certificate and key are seldom replaced together
                told = complaint
                _log.warning(f"Changed certificates cannot be used, the old ones stay: {error}")
            complaint = str(error)


class GrpcCertificates:
    """The certificates of one gRPC port, which gRPC asks for at every new connection, from threads of its own."""

    def __init__(self, contents: Contents) -> None:
        self._first = contents
        self._changed: deque[Contents] = deque(maxlen=1)

    def use(self, contents: Contents) -> None:
        """From the next connection on."""
        self._changed.append(contents)

    def credentials(self) -> Any:
        """For one `add_secure_port`: gRPC takes a change once, so two ports cannot share them."""
        import grpc

        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(self._first),
            self._fetch,
            require_client_authentication=self._first.client_ca is not None,
        )

    def _fetch(self) -> Any:
        """The change, or None when there is none."""
        try:
            return _grpc_configuration(self._changed.popleft())
        except IndexError:
            return None


def grpc_environment(config: Config) -> dict[str, str]:
    """What a process that serves gRPC needs in its environment, before gRPC is imported.

    gRPC speaks TLS 1.2 and 1.3, and its Python package cannot be told a minimum (grpc/grpc#37305). Without a usable
    cipher suite for 1.2 only 1.3 is left.
    """
    blocks = [receiver.protocols.grpc.tls for receiver in config.receivers.values() if receiver.protocols.grpc]
    demands_1_3 = any(block.min_version == "1.3" for block in blocks if block is not None)
    return {_GRPC_SUITES: _NO_TLS_1_2_SUITE} if demands_1_3 else {}


def check_grpc_environment(settings: TlsSettings) -> None:
    """Raise OSError where gRPC would speak an older version than it may."""
    if settings.min_version == "1.3" and os.environ.get(_GRPC_SUITES) != _NO_TLS_1_2_SUITE:
        raise OSError(f"gRPC would speak TLS 1.2: start this process with {_GRPC_SUITES}={_NO_TLS_1_2_SUITE}")


def _grpc_configuration(contents: Contents) -> Any:
    import grpc

    return grpc.ssl_server_certificate_configuration([(contents.key, contents.chain)], contents.client_ca)


def _read_all(settings: TlsSettings) -> Contents:
    client_ca = None if settings.client_ca_file is None else _read(settings.client_ca_file, b"CERTIFICATE")
    return Contents(_read(settings.cert_file, b"CERTIFICATE"), _read(settings.key_file, b"PRIVATE KEY"), client_ca)


def _read(path: str, label: bytes) -> bytes:
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}") from None
    if label + b"-----" not in contents:
        raise OSError(f"{path} holds no {label.decode().lower()} in PEM")
    return contents


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs the server more than the client
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, _no_password)
    except ssl.SSLError as error:
        pair = f"{settings.cert_file} with the key {settings.key_file}"
        raise OSError(f"cannot use {pair}: {_reason(error)}") from None
    except ValueError:
        raise OSError(f"{settings.key_file} is protected by a password; store it without one") from None
    if settings.client_ca_file is not None:
        _demand_certificates(context, settings.client_ca_file)
    return context


def _demand_certificates(context: ssl.SSLContext, client_ca_file: str) -> None:
    try:
        context.load_verify_locations(client_ca_file)
    except ssl.SSLError as error:
        raise OSError(f"{client_ca_file} holds no usable certificate: {_reason(error)}") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not valid").replace("_", " ").lower()


def _no_password() -> NoReturn:
    """OpenSSL would ask for it on the terminal."""
    raise ValueError
