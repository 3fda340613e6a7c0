"""What every Kafka client of ours shares: how to connect, and what its errors mean."""

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from config.kafka import KafkaBufferSettings, KafkaTlsSettings
from pipelines.errors import Permanent, Retryable

BOOTSTRAP_SECONDS: Final = 3.0
_PROBE_SECONDS: Final = 1.0
_MOST_BACKOFF_MS: Final = 1000  # a broker that is back is used within a second

# Its debug lines hold the password; what connections suffer from, our own messages say, once and not every second.
_LOG_LEVELS: Final = {
    "kafka": logging.ERROR,
    "kafka.cluster": logging.CRITICAL,
    "kafka.coordinator": logging.CRITICAL,
    "kafka.net.connection": logging.CRITICAL,
    "kafka.net.manager": logging.CRITICAL,
    "kafka.net.transport": logging.CRITICAL,
}
_OURS: Final = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.AuthorizationError,
    kafka_errors.KafkaConfigurationError,
)


def connection(settings: KafkaBufferSettings) -> dict[str, Any]:
    """Arguments for any client of `kafka-python`; they hold the password."""
    for name, level in _LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "client_id": "otlp-receiver",
        "bootstrap_timeout_ms": int(BOOTSTRAP_SECONDS * 1000),
        "reconnect_backoff_max_ms": _MOST_BACKOFF_MS,
        "security_protocol": _protocol(settings),
    }
    if settings.tls is not None:
        options["ssl_context"] = _tls_context(settings.tls)
    if settings.sasl is not None:
        options |= {
            "sasl_mechanism": settings.sasl.mechanism,
            "sasl_plain_username": settings.sasl.username,
            "sasl_plain_password": settings.sasl.password.get_secret_value(),
        }
    return options


def _protocol(settings: KafkaBufferSettings) -> str:
    transport = "PLAINTEXT" if settings.tls is None else "SSL"
    return transport if settings.sasl is None else f"SASL_{transport}"


def start(make: Callable[..., Any], options: dict[str, Any]) -> Any:
    """A client of the class `make`; one that cannot begin leaves nothing behind, as the library itself would."""
    made: list[Any] = []

    def kafka_client(**each: Any) -> Any:
        made.append(KafkaNetClient(**each))
        return made[-1]

    try:
        return make(**options, kafka_client=kafka_client)
    except BaseException:
        for client in made:
            client.close()
        raise


def require_reachable(settings: KafkaBufferSettings) -> None:
    """Returns if some broker takes connections: a client would look for one much longer, and not say what is wrong.

    Raises:
        Retryable: none does.
    """
    refusals: list[str] = []
    context = _tls_context(settings.tls) if settings.tls else None
    for broker in settings.brokers:
        host, _, port = broker.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as connection:
                if context is not None:
                    context.wrap_socket(connection, server_hostname=host.strip("[]")).close()
                return
        except ssl.SSLError as error:
            refusals.append(f"{broker}: {error.reason or error} (see `tls` under `buffers`)")
        except OSError as error:
            refusals.append(f"{broker}: {error.strerror or error}")
    raise Retryable(f"no Kafka broker takes connections at {'; '.join(refusals)}")


def _tls_context(settings: KafkaTlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.check_hostname = settings.verify_hostname
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


@contextmanager
def named_errors(settings: KafkaBufferSettings, doing: str) -> Iterator[None]:
    """Turns the client's errors into ours, which say where it was and what was tried.

    Raises:
        Permanent: the brokers refuse us, whatever we do.
        Retryable: anything else.
    """
    try:
        yield
    except _OURS as error:
        raise Permanent(
            f"Kafka at {', '.join(settings.brokers)} refuses {doing}: {describe(error)}; "
            "check `sasl`, `tls` and the account's permissions under `buffers`"
        ) from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise Retryable(f"Kafka at {', '.join(settings.brokers)} fails at {doing}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Kind and text of an error of the client, whose text alone is often empty."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    # Also what it says about a wrong password: it takes the broker's refusal for a lost connection.
    return f"{text}; are `sasl` and `tls` under `buffers` what the brokers expect?" if "bootstrap" in text else text
