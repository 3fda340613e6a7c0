"""Unix sockets: both receivers at a path, who may take a path, and the running service with several workers."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil
import pytest

from otlp_receiver.sockets import bind
from otlp_receiver.unix_sockets import check, remove
from tests.support.certificates import HOST, Authority
from tests.support.http_client import BODY, PROTOBUF, RawClient, head
from tests.support.receivers import EXPORT_METHODS, RememberingIntake, grpc_server, http_server, on_uvloop, until
from tests.support.service import Service, service, wait_for_exit
from tests.support.waiting import wait_until

_BOTH = pytest.mark.parametrize("server", [http_server, grpc_server], ids=["http", "grpc"])


async def _post(path: Path) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        client.post("http://otlp/v1/traces", data=BODY, headers={"Content-Type": PROTOBUF}) as reply,
    ):
        return reply.status


@asynccontextmanager
async def _channel(path: Path) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{path}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel.unary_unary(EXPORT_METHODS["traces"])


async def _send(server: Any, path: Path) -> None:
    if server is http_server:
        assert await _post(path) == 200
    else:
        async with _channel(path) as method:
            await method(BODY)


@_BOTH
@pytest.mark.parametrize("written", ["unix://{}", "unix:{}", "{}"])
@on_uvloop
async def test_served(server: Any, written: str, tmp_path: Path) -> None:
    """Requests are taken at the path, which the owner and the group may use; it is gone after the end."""
    intake, path = RememberingIntake(), tmp_path / "with space & 100%" / "otlp.sock"
    path.parent.mkdir()
    async with server(intake, endpoint=written.format(path), transport="unix") as started:
        assert started.endpoints == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        if server is http_server:
            await _send(server, path)
        else:
            short = tmp_path / "link.sock"  # gRPC's client wants it percent-encoded
            short.symlink_to(path)
            await _send(server, short)
            short.unlink()
        assert list(path.parent.iterdir()) == [path]

    assert len(intake.consumed) == 1
    assert not list(path.parent.iterdir())


@on_uvloop
async def test_encrypted(tmp_path: Path) -> None:
    """TLS is spoken over a unix socket as well."""
    authority, path = Authority(tmp_path / "tls"), tmp_path / "otlp.sock"
    async with http_server(RememberingIntake(), endpoint=str(path), tls=authority.issue("server").settings()):
        connection = await asyncio.open_unix_connection(path, ssl=authority.context(), server_hostname=HOST)
        client = RawClient(*connection)
        await client.send(head(len(BODY)) + BODY)
        assert (await client.response())[0] == 200
        client.writer.close()


@_BOTH
@on_uvloop
async def test_connections_outlive_the_path(server: Any, tmp_path: Path) -> None:
    """At a shutdown the path goes first, once; a request that was under way is still answered."""
    intake, path = RememberingIntake(), tmp_path / "otlp.sock"
    intake.gate.clear()
    async with server(intake, endpoint=str(path)) as started:
        sending = asyncio.ensure_future(_send(server, path))
        await intake.arrived.wait()
        ending = asyncio.ensure_future(started.shutdown(30))
        await until(lambda: not path.exists())
        path.write_text("somebody else's")
        intake.gate.set()
        await asyncio.gather(sending, ending)

    assert len(intake.consumed) == 1
    assert path.exists()


@_BOTH
@on_uvloop
async def test_a_dead_socket_is_replaced(server: Any, tmp_path: Path) -> None:
    """What a killed process has left at the path is in nobody's way."""
    path = tmp_path / "otlp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with server(RememberingIntake(), endpoint=str(path)):
        await _send(server, path)


@_BOTH
@on_uvloop
async def test_a_living_socket_is_left_alone(server: Any, tmp_path: Path) -> None:
    """A path where a process listens is one clear line with the cure, and that process goes on."""
    intake, path = RememberingIntake(), tmp_path / "otlp.sock"
    async with server(intake, endpoint=str(path)):
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}: Address already in use; stop what listens"):
            async with server(RememberingIntake(), endpoint=str(path)):
                pass
        await _send(server, path)

    assert len(intake.consumed) == 1


def test_what_is_in_the_way(tmp_path: Path) -> None:
    """A file that is no socket, a missing directory and a path that is too long are named, and nothing is changed."""
    file = tmp_path / "file"
    file.write_text("precious")
    for path, reason in (
        (file, "there is a file that is no socket"),
        (tmp_path / "none" / "otlp.sock", "No such file or directory"),
        (tmp_path / ("x" * 100), "the path of a socket has 103 bytes at most"),
    ):
        with pytest.raises(OSError, match=f"cannot listen on unix:{path}: {reason}"):
            bind(f"unix:{path}", shared=True)
        with pytest.raises(OSError, match=reason):
            check(str(path))
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    """Whether a path is free can be asked without taking it; a socket that is gone need not be removed."""
    path = tmp_path / "otlp.sock"
    check(str(path))
    remove(str(path))
    assert not list(tmp_path.iterdir())


# --- the running service ---------------------------------------------------------------------------------------------


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service of a test's own, not started, with unix sockets for both protocols."""
    with service() as made:
        for name, protocol in made.config["receivers"]["otlp"]["protocols"].items():
            protocol["endpoint"] = f"unix://{made.directory}/{name}.sock"
        yield made


def _owners(made: Service) -> list[psutil.Process]:
    """The ingest processes that listen at paths; the system knows the paths that the sockets were bound to."""
    return [child for child in made.children() if "ingest" in child.cmdline() and _listens(child)]


def _listens(process: psutil.Process) -> bool:
    return any(str(each.laddr).endswith("/s") for each in process.net_connections("unix"))


def _accepts(paths: Iterable[Path]) -> bool:
    for path in paths:
        with socket.socket(socket.AF_UNIX) as trying:
            if trying.connect_ex(str(path)):
                return False
    return True


def _assert_served(grpc_path: Path, http_path: Path) -> None:
    with grpc.insecure_channel(f"unix:{grpc_path}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        channel.unary_unary(EXPORT_METHODS["traces"])(BODY, timeout=60)
    assert asyncio.run(_post(http_path)) == 200


def test_several_workers(fresh: Service) -> None:
    """With several workers one serves the paths; killed, it is replaced, and its successor takes them over."""
    paths = (fresh.directory / "grpc.sock", fresh.directory / "http.sock")
    fresh.config["service"]["workers"] = 3
    fresh.start()
    _assert_served(*paths)
    (owner,) = _owners(fresh)
    before = [path.stat().st_ino for path in paths]
    owner.kill()
    wait_until(lambda: [path.stat().st_ino for path in paths] != before and _accepts(paths))
    _assert_served(*paths)
    assert len(_owners(fresh)) == 1
    fresh.wait_for_rows("1", 1)
    assert fresh.stop() == 0, fresh.log()
    assert not any(path.exists() for path in paths)


def test_a_living_socket_of_another_service(fresh: Service) -> None:
    """A path where a stranger listens: exit code 3, one line with setting and path, and the stranger goes on."""
    path = fresh.directory / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        fresh.launch()
        assert wait_for_exit(fresh.process) == 3, fresh.log()
        assert _accepts([path])
    (message,) = (line["event"] for line in fresh.log_lines() if line["level"] == "error")
    assert (
        f"receivers::otlp::protocols::grpc::endpoint: cannot listen on unix:{path}: Address already in use" in message
    )
