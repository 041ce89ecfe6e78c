"""The ways to a server: proxies, certificates, and many at once; on real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import resource
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scaffold.errors import BackendUnavailable, BadInput, TaskError
from scaffold.proxies import proxy_of
from scaffold.registry import make_backend

from .conftest import ask, gather, texts
from .replay import Replay
from .wire import CHAT, WIRES, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from scaffold.interfaces import Backend

every = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy and no certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


async def said(backend: Backend) -> list[str]:
    """Ask once, and close."""
    try:
        return texts(await gather(backend, ask("hi", max_tokens=16)))
    finally:
        await backend.close()


# --- certificates


@dataclass(frozen=True)
class Certified:
    """A certificate of 127.0.0.1 that nobody else has signed."""

    file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """Make a certificate as people make them for a server of their own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    file, secret = folder / "server.pem", folder / "key.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, secret)
    return Certified(file, context)


@every
def test_a_certificate_nobody_signed_is_said_with_its_cure(wire: Wire, certified: Certified) -> None:
    """It is not trusted, not asked again, and the message names `ca_file` and SSL_CERT_FILE."""

    async def inner() -> None:
        async with Replay([wire.good()], tls=certified.context) as server:
            backend = make_backend(f"{server.url}#m", {"dialect": wire.name, "backoff_s": 60})
            with pytest.raises(
                BackendUnavailable, match=r"not trusted \(self.signed certificate\).*'ca_file'.*SSL_CERT"
            ):
                await asyncio.wait_for(said(backend), 60)

    asyncio.run(inner())


def test_too_many_open_files_are_told_as_such() -> None:
    """Not as a server that does not run: the message names `ulimit -n` and what has fewer connections."""

    async def inner() -> None:
        backend = make_backend("http://127.0.0.1:9#m", {"dialect": CHAT.name, "backoff_s": 0})
        with pytest.raises(BackendUnavailable, match="Check the address"):
            await said(backend)  # and all is imported that has to be
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            with pytest.raises(
                BackendUnavailable, match=r"Too many open files.*`ulimit -n`, or lower `concurrency` or"
            ):
                await said(backend)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(inner())


@every
def test_a_certificate_of_our_own_is_trusted_when_named(
    wire: Wire, certified: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option `ca_file`, and with SSL_CERT_FILE in the environment, the same server answers."""

    async def inner() -> list[list[str]]:
        async with Replay([wire.good()], tls=certified.context) as server:
            options = {"dialect": wire.name}
            named = make_backend(f"{server.url}#m", {**options, "ca_file": str(certified.file)})
            monkeypatch.setenv("SSL_CERT_FILE", str(certified.file))
            return [await said(named), await said(make_backend(f"{server.url}#m", options))]

    assert asyncio.run(inner()) == [["hello"], ["hello"]]


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """`ca_file` has to exist and to hold a certificate, which is said before anything is sent."""
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("absent.pem", "empty.pem"):
        with pytest.raises(TaskError, match="ca_file"):
            make_backend("https://127.0.0.1:1/v1#m", {"ca_file": str(tmp_path / name)})


def test_a_certificate_file_of_the_environment_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE is named, which another program may have set; nothing is needed of it without https."""
    monkeypatch.setenv("SSL_CERT_FILE", "/absent/cacert.pem")
    with pytest.raises(
        BadInput, match=r"'/absent/cacert\.pem', named by the environment variable SSL_CERT_FILE, has no certificate"
    ):
        make_backend("https://127.0.0.1:1/v1#m", {})
    make_backend("http://127.0.0.1:1/v1#m", {})


# --- proxies


@dataclass
class Proxy:
    """A little HTTP proxy: forwards what is asked for by its whole address, and opens tunnels.

    Attributes:
        asked: the first line of each request.
    """

    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, for as long as both sides talk."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        method, target, version = first.decode().split(" ")
        self.asked.append(f"{method} {target}")
        host = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        name, _, port = host.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(name, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = "/" + target.removeprefix("http://").partition("/")[2]
            there_writer.write(f"{method} {path} {version}\r\n".encode() + rest)
        await asyncio.wait(
            [asyncio.ensure_future(pour(reader, there_writer)), asyncio.ensure_future(pour(there_reader, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        there_writer.close()
        writer.close()


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, until the other side has said all."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


@asynccontextmanager
async def proxying() -> AsyncGenerator[Proxy]:
    """Run a proxy on loopback."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.sleep(0.05)  # for its connections to end


@every
def test_a_proxy_is_gone_through(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is respected, and so is NO_PROXY."""

    async def inner() -> tuple[list[str], int]:
        async with proxying() as proxy, Replay([wire.good()]) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert await said(make_backend(f"{server.url}#m", {"dialect": wire.name})) == ["hello"]
            asked = list(proxy.asked)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            assert await said(make_backend(f"{server.url}#m", {"dialect": wire.name})) == ["hello"]
            assert proxy.asked == asked
            return asked, server.port

    asked, port = asyncio.run(inner())
    assert len(asked) == 1
    assert asked[0].startswith(f"POST http://127.0.0.1:{port}/v1/")


def test_a_proxy_is_gone_through_to_a_secure_server(certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY gets a tunnel: the proxy sees where to, and nothing of what is said."""

    async def inner() -> tuple[list[str], int]:
        async with proxying() as proxy, Replay([CHAT.good()], tls=certified.context) as server:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            backend = make_backend(f"{server.url}#m", {"ca_file": str(certified.file)})
            assert await said(backend) == ["hello"]
            return proxy.asked, server.port

    asked, port = asyncio.run(inner())
    assert asked == [f"CONNECT 127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("url", "told", "proxy"),
    [
        ("http://a.example/v1", "", "http://p:1"),
        ("https://a.example/v1", "", None),
        ("http://a.example/v1", "example", None),
        ("http://a.example/v1", "b.example, .a.example", None),
        ("http://a.example/v1", "b.example,*", None),
        ("http://ba.example/v1", "a.example", "http://p:1"),
        ("http://a.example:8/v1", "a.example:8", None),
        ("http://a.example:8/v1", "a.example:9,::1,[::1],fd00::/8,nonsense/8", "http://p:1"),
        ("http://[fd00::7]:8/v1", "fd00::/8", None),
        ("http://[::1]/v1", "::1", None),
        ("http://[::1]:8/v1", "[::1]", None),
        ("http://10.2.3.4:8/v1", "10.0.0.0/8", None),
        ("http://11.2.3.4:8/v1", "10.0.0.0/8", "http://p:1"),
    ],
)
def test_which_servers_are_asked_for_directly(
    url: str, told: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY names hosts, with all that end in them, and ports, and addresses and networks of both kinds."""
    monkeypatch.setenv("HTTP_PROXY", "p:1")
    monkeypatch.setenv("NO_PROXY", told)
    assert proxy_of(url) == proxy


def test_an_address_in_no_proxy_keeps_nobody_from_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network or an address in brackets is read, which httpx refuses for every request."""
    monkeypatch.setenv("NO_PROXY", "localhost,[::1],fd00::/8")

    async def inner() -> list[str]:
        async with Replay([CHAT.good()]) as server:
            return await said(make_backend(f"{server.url}#m", {}))

    assert asyncio.run(inner()) == ["hello"]


def test_a_proxy_that_is_down_or_makes_no_sense_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variables; a password in them is not shown."""
    for url in ("http://me:sekret@127.0.0.1:9", "nonsense://me:sekret@host", "socks5://me:sekret@127.0.0.1:9"):
        monkeypatch.setenv("HTTP_PROXY", url)
        backend = make_backend("http://127.0.0.1:1/v1#m", {"attempts": 1})
        with pytest.raises(BackendUnavailable) as caught:
            asyncio.run(said(backend))
        assert "sekret" not in str(caught.value)
        assert ("through the proxy 127.0.0.1:9" if url.startswith("http") else "cannot be used") in str(caught.value)
        assert "NO_PROXY" in str(caught.value)
        assert not caught.value.reached  # so that nothing is charged


# --- many at once


@dataclass
class Crowd:
    """Answers nobody before all have asked.

    Attributes:
        size: how many all are.
        answer: what each gets.
        connections: how many were opened.
        open: how many still are.
        nobody: set whenever none is.
    """

    size: int
    answer: bytes
    connections: int = 0
    open: int = 0
    asked: int = 0
    everybody: asyncio.Event = field(default_factory=asyncio.Event)
    nobody: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open += 1
        self.nobody.clear()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
                self.asked += 1
                if self.asked >= self.size:
                    self.everybody.set()
                await self.everybody.wait()
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self.open -= 1
            if not self.open:
                self.nobody.set()


def test_512_requests_at_once() -> None:
    """All are under way at the same time, all are answered, and their connections are kept for the next ones."""

    async def inner() -> tuple[int, int]:
        crowd = Crowd(512, b"".join(step for step in CHAT.good() if isinstance(step, bytes)))
        server = await asyncio.start_server(crowd.serve, "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        backend = make_backend(f"http://127.0.0.1:{port}/v1#m", {"attempts": 1})
        for count in (512, 100):
            answers = await asyncio.gather(*(gather(backend, ask("hi", max_tokens=16)) for _ in range(count)))
            assert all(texts(deltas) == ["hello"] for deltas in answers)
        await backend.close()
        server.close()
        await crowd.nobody.wait()
        return crowd.asked, crowd.connections

    assert asyncio.run(inner()) == (612, 512)
