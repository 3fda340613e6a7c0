"""Certificates made for a test, and what clients see of a server's."""

import socket
import ssl
from pathlib import Path
from typing import Final

import grpc
import trustme
from cryptography import x509

HOST: Final = "127.0.0.1"
_SECONDS: Final = 30


class Authority:
    """A certificate authority of a test's own.

    Args:
        directory: where files are put.
    """

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self._authority.cert_pem.bytes()

    def issue(self, name: str) -> "Issued":
        """A new certificate for this machine in NAME.pem and NAME.key; replaces one of the same name."""
        made = self._authority.issue_cert(HOST, "localhost")
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        replace(certificate, b"".join(each.bytes() for each in made.cert_chain_pems))
        replace(key, made.private_key_pem.bytes())
        return Issued(certificate, key)

    def context(self, issued: "Issued | None" = None) -> ssl.SSLContext:
        """A client that trusts this authority, showing a certificate when it has one."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context

    def channel_credentials(self, issued: "Issued | None" = None) -> grpc.ChannelCredentials:
        """The same for gRPC."""
        key, certificate = (issued.key.read_bytes(), issued.certificate.read_bytes()) if issued else (None, None)
        return grpc.ssl_channel_credentials(self.pem, key, certificate)


class Issued:
    """A certificate and its key, in files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key

    def settings(self, client_ca: Path | None = None) -> dict[str, str]:
        """A server's `tls` block; files are looked at often."""
        block = {"cert_file": str(self.certificate), "key_file": str(self.key), "reload_interval": "20ms"}
        return block if client_ca is None else {**block, "client_ca_file": str(client_ca)}

    def serial(self) -> int:
        """The certificate's number."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number


def replace(path: Path, contents: bytes) -> None:
    """Write a file so that nobody sees half of it."""
    whole = path.with_suffix(".new")
    whole.write_bytes(contents)
    whole.rename(path)


def handshake(port: int, context: ssl.SSLContext) -> tuple[str | None, str | None, int]:
    """TLS version, ALPN protocol and the number of the server's certificate; raises OSError when refused.

    In TLS 1.3 a client's certificate is judged later: a refusal of that shows in the first request only.
    """
    with (
        socket.create_connection((HOST, port), _SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        serial = x509.load_der_x509_certificate(certificate).serial_number
        return connection.version(), connection.selected_alpn_protocol(), serial
