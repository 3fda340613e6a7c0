"""TLS and mTLS of both receivers: versions, client certificates, and certificates that change while they listen."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from config.transports import TlsSettings
from otlp_receiver.grpc_server import GrpcServer
from otlp_receiver.http_server import HttpServer
from otlp_receiver.tls import load
from tests.support.certificates import Authority, Issued, handshake, replace
from tests.support.http_client import BODY, PROTOBUF
from tests.support.receivers import EXPORT_METHODS, RememberingIntake, grpc_server, http_server, on_uvloop, until

Send = Callable[[], Awaitable[None]]
Client = Callable[[str, Authority, Issued | None], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def _http_client(endpoint: str, authority: Authority, issued: Issued | None) -> AsyncIterator[Send]:
    connector = aiohttp.TCPConnector(ssl=authority.context(issued), limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send() -> None:
            url, headers = f"https://{endpoint}/v1/traces", {"Content-Type": PROTOBUF}
            async with session.post(url, data=BODY, headers=headers) as response:
                assert response.status == 200

        yield send


@asynccontextmanager
async def _grpc_client(endpoint: str, authority: Authority, issued: Issued | None) -> AsyncIterator[Send]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(endpoint, authority.channel_credentials(issued), options=options) as channel:
        method: Any = channel.unary_unary(EXPORT_METHODS["traces"])

        async def send() -> None:
            await method(BODY)

        yield send


_BOTH = pytest.mark.parametrize(
    ("server", "client", "protocol"),
    [(http_server, _http_client, "http/1.1"), (grpc_server, _grpc_client, "h2")],
    ids=["http", "grpc"],
)
_REFUSED = (aiohttp.ClientConnectionError, grpc.RpcError)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority of servers, and of clients that are welcome."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that servers do not know."""
    return Authority(tmp_path / "stranger")


def _port(server: HttpServer | GrpcServer) -> int:
    return int(server.endpoints[0].rpartition(":")[2])


async def _serial(server: HttpServer | GrpcServer, authority: Authority) -> int:
    return (await asyncio.to_thread(handshake, _port(server), authority.context()))[2]


@_BOTH
@on_uvloop
async def test_encrypted(server: Any, client: Client, protocol: str, authority: Authority) -> None:
    """Requests are taken over TLS 1.3, with the protocol agreed on, and never without TLS."""
    intake, issued = RememberingIntake(), authority.issue("server")
    async with server(intake, tls=issued.settings()) as started:
        async with client(started.endpoints[0], authority, None) as send:
            await send()
        context = authority.context()
        context.set_alpn_protocols([protocol])
        seen = await asyncio.to_thread(handshake, _port(started), context)
        assert seen == ("TLSv1.3", protocol, issued.serial())
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(started))
        writer.write(b"POST /v1/traces HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()

    assert [request.body for request in intake.consumed] == [BODY]


@_BOTH
@on_uvloop
async def test_client_certificates(
    server: Any, client: Client, protocol: str, authority: Authority, stranger: Authority
) -> None:
    """With client_ca_file a client must show a certificate, and one of that authority."""
    del protocol
    intake = RememberingIntake()
    strange = stranger.issue("client")
    async with server(intake, tls=authority.issue("server").settings(client_ca=authority.file)) as started:
        for unwelcome in (None, strange):
            async with client(started.endpoints[0], authority, unwelcome) as send:
                with pytest.raises(_REFUSED):
                    await send()
        assert not intake.consumed
        async with client(started.endpoints[0], authority, authority.issue("client")) as send:
            await send()

    assert len(intake.consumed) == 1


def _old_client(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL would not offer the versions before 1.2 otherwise
    return context


@_BOTH
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@on_uvloop
async def test_least_version(server: Any, client: Client, protocol: str, authority: Authority) -> None:
    """TLS 1.2 is the least that is spoken."""
    del client, protocol
    async with server(RememberingIntake(), tls=authority.issue("server").settings()) as started:
        port = _port(started)
        seen = await asyncio.to_thread(handshake, port, _old_client(authority, ssl.TLSVersion.TLSv1_2))
        assert seen[0] == "TLSv1.2"
        with pytest.raises(OSError, match="EOF"):
            await asyncio.to_thread(handshake, port, _old_client(authority, ssl.TLSVersion.TLSv1_1))


@on_uvloop
async def test_least_version_of_choice(authority: Authority) -> None:
    """With min_version 1.3 the receiver over HTTP refuses TLS 1.2 (over gRPC: test_tls_service.py)."""
    async with http_server(RememberingIntake(), tls=authority.issue("server").settings() | {"min_version": "1.3"}) as (
        started
    ):
        assert (await asyncio.to_thread(handshake, _port(started), authority.context()))[0] == "TLSv1.3"
        with pytest.raises(ssl.SSLError, match="EOF"):
            await asyncio.to_thread(handshake, _port(started), _old_client(authority, ssl.TLSVersion.TLSv1_2))


@on_uvloop
async def test_least_version_that_grpc_was_not_told(authority: Authority) -> None:
    """A process whose environment does not keep gRPC from TLS 1.2 refuses to start with min_version 1.3."""
    tls = authority.issue("server").settings() | {"min_version": "1.3"}
    with pytest.raises(OSError, match=r"gRPC would speak TLS 1\.2"):
        async with grpc_server(RememberingIntake(), tls=tls):
            pass


# --- files that change -----------------------------------------------------------------------------------------------


async def _until_serial(server: HttpServer | GrpcServer, authority: Authority, serial: int) -> None:
    while await _serial(server, authority) != serial:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.01)


@_BOTH
@on_uvloop
async def test_changed_certificate(server: Any, client: Client, protocol: str, authority: Authority) -> None:
    """New connections see a changed certificate; old ones go on, also with a request that was under way."""
    del protocol
    intake, old = RememberingIntake(), authority.issue("server")
    async with (
        server(intake, tls=old.settings()) as started,
        client(started.endpoints[0], authority, None) as send,
        client(started.endpoints[0], authority, None) as send_slowly,
    ):
        await send()
        intake.arrived.clear()
        intake.gate.clear()
        slow = asyncio.ensure_future(send_slowly())
        await intake.arrived.wait()
        new = authority.issue("server")
        await _until_serial(started, authority, new.serial())
        intake.gate.set()
        await asyncio.gather(slow, send())

    assert len(intake.consumed) == 3


@_BOTH
@on_uvloop
async def test_no_connection_is_lost(server: Any, client: Client, protocol: str, authority: Authority) -> None:
    """While certificates change again and again, every new connection is served."""
    del protocol
    intake, issued = RememberingIntake(), authority.issue("server")
    async with server(intake, tls=issued.settings()) as started:
        for _ in range(5):
            authority.issue("server")
            for _ in range(10):
                async with client(started.endpoints[0], authority, None) as send:
                    await send()

    assert len(intake.consumed) == 50


@_BOTH
@on_uvloop
async def test_changed_authority(
    server: Any, client: Client, protocol: str, authority: Authority, stranger: Authority
) -> None:
    """A changed client_ca_file shuts out the clients of the former authority and lets in those of the new one."""
    del protocol
    intake, trusted = RememberingIntake(), Authority(authority.file.parent / "clients")
    former, newcomer = trusted.issue("former"), stranger.issue("newcomer")
    async with server(intake, tls=authority.issue("server").settings(client_ca=trusted.file)) as started:
        async with client(started.endpoints[0], authority, former) as send:
            await send()
        with capture_logs() as logs:
            replace(trusted.file, stranger.pem)
            await until(lambda: any("changed certificates" in line["event"] for line in logs))
        async with client(started.endpoints[0], authority, newcomer) as send:
            await send()
        async with client(started.endpoints[0], authority, former) as send:
            with pytest.raises(_REFUSED):
                await send()

    assert len(intake.consumed) == 2


@_BOTH
@on_uvloop
async def test_broken_change(server: Any, client: Client, protocol: str, authority: Authority) -> None:
    """A key that does not fit leaves the old pair in use, with one warning that names the file; the cure is seen."""
    del client, protocol
    issued = authority.issue("server")
    used, unfit = issued.serial(), authority.issue("other").key.read_bytes()
    with capture_logs() as logs:
        async with server(RememberingIntake(), tls=issued.settings()) as started:
            replace(issued.key, unfit)
            await until(lambda: any(line["log_level"] == "warning" for line in logs))
            await asyncio.sleep(0.1)
            assert await _serial(started, authority) == used
            (warning,) = (line["event"] for line in logs if line["log_level"] == "warning")
            await _until_serial(started, authority, authority.issue("server").serial())

    assert f"cannot use {issued.certificate} with the key {issued.key}: key values mismatch" in warning
    assert unfit.splitlines()[1].decode() not in repr(logs)


@on_uvloop
async def test_never_reloaded(authority: Authority) -> None:
    """With reload_interval 0 files are read once."""
    issued = authority.issue("server")
    used = issued.serial()
    async with http_server(RememberingIntake(), tls=issued.settings() | {"reload_interval": "0"}) as started:
        assert started._watching is not None
        await started._watching
        authority.issue("server")
        assert await _serial(started, authority) == used


# --- files that cannot be used ---------------------------------------------------------------------------------------


_NO_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda issued: issued.key.unlink(), "cannot read {key}: No such file or directory"),
        (lambda issued: issued.certificate.write_text("none"), "{certificate} holds no certificate in PEM"),
        (lambda issued: issued.key.write_bytes(issued.certificate.read_bytes()), "{key} holds no private key in PEM"),
        (
            lambda issued: issued.certificate.write_text(_NO_CERTIFICATE),
            "cannot use {certificate} with the key {key}: ",
        ),
    ],
    ids=["missing", "no certificate", "no key", "broken"],
)
def test_unusable_files(authority: Authority, spoil: Callable[[Issued], None], message: str) -> None:
    """A file that cannot be used is named, with the reason."""
    issued = authority.issue("server")
    settings = TlsSettings.model_validate(issued.settings())
    load(settings)
    spoil(issued)
    with pytest.raises(OSError, match=re.escape(message.format(key=issued.key, certificate=issued.certificate))):
        load(settings)


def test_unusable_authority(authority: Authority) -> None:
    """A file of authorities without a usable one is named."""
    issued, empty = authority.issue("server"), authority.file.with_name("empty.pem")
    empty.write_text(_NO_CERTIFICATE)
    with pytest.raises(OSError, match=f"{empty} holds no usable certificate"):
        load(TlsSettings.model_validate(issued.settings(client_ca=empty)))


def test_key_with_a_password(authority: Authority) -> None:
    """A key under a password is refused with the cure; nobody is asked for the password."""
    issued = authority.issue("server")
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    issued.key.write_bytes(key.private_bytes(*pem, locked))
    with pytest.raises(OSError, match=f"{issued.key} is protected by a password"):
        load(TlsSettings.model_validate(issued.settings()))


def test_key_is_not_shown(authority: Authority) -> None:
    """What holds a private key does not show it when printed."""
    issued = authority.issue("server")
    shown = repr(load(TlsSettings.model_validate(issued.settings())))
    assert "PRIVATE KEY" not in shown
