"""Configurations with faults, and the lines that they are told."""

from typing import Final

from tests.support.configs import MINIMAL

_OPEN: Final = (
    "is reachable from other machines, but says not who may use it: add `auth: {authenticator: api_keys}` with an "
    "extension api_keys (or static_keys), or `auth: none` to let everyone in"
)
_EMBEDDED_STORE: Final = MINIMAL.replace("debug", "chdb")


def with_line(line: str) -> str:
    """The smallest configuration with a last line."""
    return f"{MINIMAL}{line}\n"


# The smallest configuration has nine lines: what is appended is line 10.
BAD: Final[dict[str, tuple[str, list[str]]]] = {
    "unknown section": (
        with_line("reciever: {}"),
        ["my.yaml:10:1: reciever: unknown key (did you mean 'receivers'?)"],
    ),
    "section of the Collector": (
        with_line("connectors: {}"),
        ["my.yaml:10:1: connectors: unknown key: this receiver has one signal and needs none"],
    ),
    "unknown key": (
        MINIMAL.replace("http:}", "htttp:}"),
        ["my.yaml:2:29: receivers::otlp::protocols::htttp: unknown key (did you mean 'http'?)"],
    ),
    "unknown key, nothing near": (
        MINIMAL.replace("grpc:,", "grpc: {middlewares: []},"),
        [
            (
                "my.yaml:2:29: receivers::otlp::protocols::grpc::middlewares: unknown key "
                "(valid keys: endpoint, transport, tls, auth, max_recv_msg_size_mib, max_concurrent_streams, keepalive)"
            )
        ],
    ),
    "half a certificate": (
        MINIMAL.replace("grpc:, http:", "grpc: {tls: {cert_file: a.pem}}, http: {tls: {key_file: a.key}}"),
        [
            "my.yaml:2:29: receivers::otlp::protocols::grpc::tls::key_file: is required",
            "my.yaml:2:62: receivers::otlp::protocols::http::tls::cert_file: is required",
        ],
    ),
    "versions of TLS": (
        MINIMAL.replace("grpc:,", "grpc: {tls: {cert_file: a, key_file: b, min_version: 1.3}},").replace(
            "buffers:",
            "  otlp/b: {protocols: {grpc: {endpoint: 'localhost:1', tls: {cert_file: a, key_file: b}}}}\n"
            "buffers:\n  local/b: {directory: b}",
        )
        + "    traces/b: {receivers: [otlp/b], buffer: local/b, exporters: [debug]}\n",
        [
            (
                "my.yaml:3:56: receivers::otlp/b::protocols::grpc::tls::min_version: "
                "must be the same for every gRPC receiver; another has 1.3"
            )
        ],
    ),
    "no version of TLS": (
        MINIMAL.replace("http:}", "http: {tls: {cert_file: a, key_file: b, min_version: 1.1}}}"),
        [
            (
                "my.yaml:2:82: receivers::otlp::protocols::http::tls::min_version: "
                "must be one of '1.2' or '1.3', got '1.1' (did you mean '1.3'?)"
            )
        ],
    ),
    "no path of a socket": (
        MINIMAL.replace("grpc:, http:", "grpc: {transport: unix}, http: {transport: unix, endpoint: otlp.sock}"),
        [
            (
                "my.yaml:2:28: receivers::otlp::protocols::grpc: "
                "transport unix needs the path of a socket as endpoint, such as /run/otlp.sock"
            ),
            (
                "my.yaml:2:81: receivers::otlp::protocols::http::endpoint: expected host:port such as 127.0.0.1:4317 "
                "or [::1]:4317, or a path such as unix:///run/x.sock, got 'otlp.sock'"
            ),
        ],
    ),
    "life of connections": (
        MINIMAL.replace(
            "grpc:,",
            "grpc: {keepalive: {server_parameters: {time: 0}, enforcement_policy: {permit_without_stream: 1}}},",
        ),
        [
            (
                "my.yaml:2:67: receivers::otlp::protocols::grpc::keepalive::server_parameters::time: "
                "must be greater than 0, got '0'"
            ),
            (
                "my.yaml:2:115: receivers::otlp::protocols::grpc::keepalive::enforcement_policy::"
                "permit_without_stream: expected true or false, got 1"
            ),
        ],
    ),
    "no origins": (
        MINIMAL.replace("http:}", "http: {cors: {allowed_origins: ['https://*.*', '']}}}"),
        [
            f"my.yaml:2:{column}: receivers::otlp::protocols::http::cors::allowed_origins[{index}]: "
            f"expected an origin such as https://app.example.com, with one * at most, got {shown}"
            for index, column, shown in ((0, 61, "'https://*.*'"), (1, 76, "''"))
        ],
    ),
    "key of the Collector": (
        MINIMAL.replace("debug:", "debug: {sending_queue: {}}"),
        [
            (
                "my.yaml:6:11: exporters::debug::sending_queue: "
                "unknown key: the pipeline's buffer is the queue, and it is durable"
            )
        ],
    ),
    "unknown type": (
        MINIMAL.replace("  debug:", "  debug:\n  flie/a:"),
        [
            (
                'my.yaml:7:3: exporters::flie/a: unknown type: "flie" for id: "flie/a" '
                "(valid values: [chdb, clickhouse, debug, file]) (did you mean 'file'?)"
            )
        ],
    ),
    "type of the Collector": (
        with_line("processors: {batch: {timeout: 1s}}"),
        [
            (
                'my.yaml:10:14: processors::batch: unknown type: "batch": '
                "not needed: exporters take large blocks from the durable buffer"
            )
        ],
    ),
    "no component id": (
        with_line('processors: {redaction/: , "redaction/a b": , 5: , "redaction/$": }'),
        [
            f"my.yaml:10:{column}: processors::{name}: "
            "expected a component id: type or type/name, without spaces and symbols"
            for column, name in ((14, "redaction/"), (28, "redaction/a b"), (47, "5"), (52, "redaction/$"))
        ],
    ),
    "wrong types": (
        with_line("  workers: many\n  shutdown_timeout: 5\n  telemetry: 7\n  extensions: all\nmetadata: [a]"),
        [
            "my.yaml:10:12: service::workers: expected a whole number, got 'many'",
            "my.yaml:11:21: service::shutdown_timeout: expected a duration such as 300ms, 5s or 1m30s, got '5'",
            "my.yaml:12:14: service::telemetry: expected a mapping, got 7",
            "my.yaml:13:15: service::extensions: expected a list, got 'all' (write [all])",
            'my.yaml:13:15: service::extensions: references extension "all" which is not configured',
            "my.yaml:14:11: metadata: expected a mapping, got a list",
        ],
    ),
    "no whole numbers": (
        MINIMAL.replace("local:\n", "local: {max_size_mib: true}\n  local/2: {max_size_mib: '5'}\n").replace(
            "debug:\n", "debug: {block: {max_rows: 1.0, max_size_mib: 0}}\n"
        ),
        [
            "my.yaml:4:25: buffers::local::max_size_mib: expected a whole number, got true",
            "my.yaml:5:27: buffers::local/2::max_size_mib: expected a whole number, got '5'",
            "my.yaml:7:29: exporters::debug::block::max_rows: expected a whole number, got 1.0",
            "my.yaml:7:48: exporters::debug::block::max_size_mib: must be greater than 0, got 0",
        ],
    ),
    "not text": (
        with_line("metadata: {directory: 5}\nprocessors: {redaction: {mask: no, blocked_values: [null, '(a']}}"),
        [
            "my.yaml:10:23: metadata::directory: expected text, got 5 (write it in quotes)",
            "my.yaml:11:53: processors::redaction::blocked_values[0]: expected text, got nothing",
            (
                "my.yaml:11:59: processors::redaction::blocked_values[1]: "
                "not a regular expression in RE2's syntax: missing ), got '(a'"
            ),
        ],
    ),
    "none of the values": (
        MINIMAL.replace("debug:", "debug: {verbosity: detaled}"),
        [
            (
                "my.yaml:6:22: exporters::debug::verbosity: must be one of 'basic', 'normal' or 'detailed', "
                "got 'detaled' (did you mean 'detailed'?)"
            )
        ],
    ),
    "out of bounds": (
        MINIMAL.replace(
            "debug:", "debug: {retry_on_failure: {multiplier: .5, randomization_factor: 2, max_interval: 0s}}"
        ).replace("local:\n", "local: {max_size_mib: 9999999999}\n"),
        [
            "my.yaml:4:25: buffers::local::max_size_mib: must be less than 2147483648, got 9999999999",
            "my.yaml:6:42: exporters::debug::retry_on_failure::multiplier: must be at least 1, got 0.5",
            "my.yaml:6:68: exporters::debug::retry_on_failure::randomization_factor: must be at most 1, got 2",
            "my.yaml:6:85: exporters::debug::retry_on_failure::max_interval: must be greater than 0, got '0s'",
        ],
    ),
    "no endpoint": (
        with_line("extensions: {health_check: {endpoint: 13133}, health_check/b: {endpoint: '::1:80'}}"),
        [
            (
                "my.yaml:10:39: extensions::health_check::endpoint: "
                "expected host:port such as 127.0.0.1:4317 or [::1]:4317, got 13133"
            ),
            (
                "my.yaml:10:74: extensions::health_check/b::endpoint: "
                "expected host:port such as 127.0.0.1:4317 or [::1]:4317, got '::1:80'"
            ),
        ],
    ),
    "no protocol": (
        MINIMAL.replace("{protocols: {grpc:, http:}}", "{protocols: {}}\n  otlp/b:"),
        [
            (
                "my.yaml:2:21: receivers::otlp::protocols: "
                "must specify at least one protocol when using the OTLP receiver: grpc or http"
            ),
            (
                "my.yaml:3:3: receivers::otlp/b::protocols: "
                "must specify at least one protocol when using the OTLP receiver: grpc or http"
            ),
        ],
    ),
    "required keys": (
        MINIMAL.replace("debug:", "debug:\n  file:\n  file/b: {path: ''}"),
        [
            "my.yaml:7:3: exporters::file::path: is required",
            "my.yaml:8:18: exporters::file/b::path: must not be empty, got ''",
        ],
    ),
    "a DSN, not shown": (
        with_line("metadata: {postgres: 'mysql://root:hunter2@db'}"),
        [
            "my.yaml:10:22: metadata::postgres: expected `embedded`, `none` or a DSN such as postgresql://user@host/database"
        ],
    ),
    "dangling ids": (
        MINIMAL.replace("{receivers: [otlp]", "{receivers: [otpl], processors: [redaction]")
        .replace("buffer: local", "buffer: lokal")
        .replace("[debug]}", "[kafka]}\n  extensions: [health_check]"),
        [
            (
                'my.yaml:9:26: service::pipelines::traces: references receiver "otpl" which is not configured '
                "(did you mean 'otlp'?)"
            ),
            'my.yaml:9:46: service::pipelines::traces: references processor "redaction" which is not configured',
            (
                'my.yaml:9:66: service::pipelines::traces: references buffer "lokal" which is not configured '
                "(did you mean 'local'?)"
            ),
            'my.yaml:9:85: service::pipelines::traces: references exporter "kafka" which is not configured',
            'my.yaml:10:16: service::extensions: references extension "health_check" which is not configured',
        ],
    ),
    "listed twice": (
        MINIMAL.replace("[otlp]", "[otlp, otlp], processors: [redaction, redaction]").replace(
            "[debug]}", "[debug, debug]}\n  extensions: [health_check, health_check]"
        )
        + "processors: {redaction: }\nextensions: {health_check: }\n",
        [
            'my.yaml:9:32: service::pipelines::traces: references receiver "otlp" twice',
            'my.yaml:9:63: service::pipelines::traces: references processor "redaction" twice',
            'my.yaml:9:109: service::pipelines::traces: references exporter "debug" twice',
            'my.yaml:10:30: service::extensions: references extension "health_check" twice',
        ],
    ),
    "claimed twice": (
        with_line("    traces/b: {receivers: [otlp], buffer: local, exporters: [debug]}"),
        [
            (
                'my.yaml:10:28: service::pipelines::traces/b: references receiver "otlp" which '
                "service::pipelines::traces has: a receiver belongs to one pipeline, configure another such as otlp/2"
            ),
            (
                'my.yaml:10:43: service::pipelines::traces/b: references buffer "local" which '
                "service::pipelines::traces has: a buffer belongs to one pipeline, configure another such as local/2"
            ),
        ],
    ),
    "no pipeline of traces": (
        MINIMAL.replace("traces:", "trace:"),
        ["my.yaml:9:5: service::pipelines::trace: a pipeline is named traces or traces/name (did you mean 'traces'?)"],
    ),
    "another signal": (
        MINIMAL.replace("traces:", "logs/app:"),
        ["my.yaml:9:5: service::pipelines::logs/app: a pipeline is named traces or traces/name"],
    ),
    "empty pipeline": (
        MINIMAL.replace("{receivers: [otlp], buffer: local, exporters: [debug]}", "{receivers: []}"),
        [
            "my.yaml:9:5: service::pipelines::traces::buffer: must have a buffer: name one of the buffers section",
            "my.yaml:9:5: service::pipelines::traces::exporters: must have at least one exporter",
            "my.yaml:9:25: service::pipelines::traces::receivers: must have at least one receiver",
        ],
    ),
    "no pipelines": (
        MINIMAL.partition("    traces")[0],
        ["my.yaml:8:3: service::pipelines: service must have at least one pipeline"],
    ),
    "no sections": (
        "processors: {}\nexporters:\n",
        [
            "my.yaml:1:1: receivers: no receiver configuration specified in config",
            "my.yaml:1:1: buffers: no buffer configuration specified in config",
            "my.yaml:1:1: service::pipelines: service must have at least one pipeline",
            "my.yaml:2:1: exporters: no exporter configuration specified in config",
        ],
    ),
    "sections that are none": (
        with_line("processors: [redaction]\nextensions: health_check"),
        [
            "my.yaml:10:13: processors: expected a mapping of component ids, got a list",
            "my.yaml:11:13: extensions: expected a mapping of component ids, got 'health_check'",
        ],
    ),
    "SQL without a store": (
        with_line("extensions:\n  sql_http:"),
        ["my.yaml:11:3: extensions::sql_http: needs a chdb exporter in a pipeline: it serves the embedded store"],
    ),
    "open to other machines, unsaid": (
        MINIMAL.replace("grpc:,", "grpc: {endpoint: '0.0.0.0:4317'},"),
        [f"my.yaml:2:39: receivers::otlp::protocols::grpc::endpoint: {_OPEN}"],
    ),
    "SQL open to other machines, unsaid": (
        _EMBEDDED_STORE + "extensions: {sql_http: {endpoint: '[::]:8123'}}\n",
        [f"my.yaml:10:35: extensions::sql_http::endpoint: {_OPEN}"],
    ),
    "auth left empty beyond loopback": (
        MINIMAL.replace("grpc:,", "grpc: {endpoint: '0.0.0.0:4317', auth: },"),
        [f"my.yaml:2:39: receivers::otlp::protocols::grpc::endpoint: {_OPEN}"],
    ),
    "authenticator that is not there": (
        MINIMAL.replace("grpc:,", "grpc: {auth: {authenticator: api_key}},") + "extensions: {api_keys: }\n",
        [
            (
                "my.yaml:2:51: receivers::otlp::protocols::grpc::auth::authenticator: "
                'references "api_key", which is no '
                "extension api_keys or static_keys that is started (did you mean 'api_keys'?)"
            )
        ],
    ),
    "authenticator that is none": (
        MINIMAL.replace("grpc:,", "grpc: {auth: {authenticator: health_check}},") + "extensions: {health_check: }\n",
        [
            (
                "my.yaml:2:51: receivers::otlp::protocols::grpc::auth::authenticator: "
                'references "health_check", which is '
                "no extension api_keys or static_keys that is started"
            )
        ],
    ),
    "keys in a Postgres without hash key": (
        with_line("extensions: {api_keys: }\nmetadata: {postgres: 'postgresql://host/db'}"),
        [
            (
                "my.yaml:11:1: metadata::hash_key: is required by api_keys beside a Postgres of your own: set it to 32 "
                "random characters or more (openssl rand -hex 32), the same for every process and for the command line"
            )
        ],
    ),
    "keys without a Postgres": (
        with_line("extensions: {api_keys: }\nmetadata: {postgres: none}"),
        ["my.yaml:11:22: metadata::postgres: api_keys needs Postgres: set metadata.postgres, or use static_keys"],
    ),
    "hash key that can be guessed": (
        with_line("metadata: {hash_key: secret}"),
        ["my.yaml:10:22: metadata::hash_key: expected 32 random characters or more, such as openssl rand -hex 32"],
    ),
    "no static key": (
        with_line("extensions: {static_keys: {keys: []}}"),
        [
            (
                "my.yaml:10:27: extensions::static_keys: needs one key at least: "
                "keys: [{public_key: ..., secret_key: ${env:OTLP_SECRET_KEY}}]"
            )
        ],
    ),
    "bad static keys": (
        with_line(
            "extensions: {static_keys: {keys: ["
            "{public_key: a, secret_key: short}, {public_key: b}, {public_key: c, secret_key_file: f, scopes: [w]}]}}"
        ),
        [
            (
                "my.yaml:10:35: extensions::static_keys::keys[0]: secret_key must have 27 characters or more: "
                "openssl rand -hex 20"
            ),
            (
                "my.yaml:10:71: extensions::static_keys::keys[1]: needs either secret_key, such as "
                "${env:OTLP_SECRET_KEY}, or secret_key_file"
            ),
            "my.yaml:10:133: extensions::static_keys::keys[2]::scopes[0]: must be one of 'ingest' or 'read', got 'w'",
        ],
    ),
    "equal endpoints": (
        MINIMAL.replace("grpc:,", "grpc: {endpoint: '0.0.0.0:8888', auth: none},")
        + "extensions: {health_check: {endpoint: 'localhost:4318'}}\n",
        [
            (
                "my.yaml:10:39: extensions::health_check::endpoint: "
                "endpoint localhost:4318 is taken by receivers::otlp::protocols::http::endpoint"
            ),
            (
                "my.yaml:7:1: service::telemetry::metrics::address: "
                "endpoint 127.0.0.1:8888 is taken by receivers::otlp::protocols::grpc::endpoint"
            ),
        ][::-1],
    ),
    "equal paths": (
        MINIMAL.replace("debug:", "file: {path: ./out/a.jsonl}\n  file/b: {path: out/../out/a.jsonl}").replace(
            "[debug]", "[file, file/b]"
        ),
        ["my.yaml:7:18: exporters::file/b::path: path out/../out/a.jsonl is taken by exporters::file::path"],
    ),
    "duplicate keys": (
        with_line("  workers: 1\n  workers: 2\nservice: {}"),
        [
            "my.yaml:11:3: service::workers: duplicate key, first given on line 10",
            "my.yaml:12:1: service: duplicate key, first given on line 7",
        ],
    ),
    "syntax": (
        "receivers:\n  otlp: {a: [1, }\n",
        ["my.yaml:2:17: not valid YAML: while parsing a flow node, expected the node content, but found '}'"],
    ),
    "a tab": (
        "receivers:\n\totlp:\n",
        [
            (
                "my.yaml:2:1: not valid YAML: while scanning for the next token, "
                "found character '\\t' that cannot start any token; indent with spaces"
            )
        ],
    ),
    "a bare reference in braces": (
        "receivers: {otlp: ${env:X}}\n",
        [
            (
                "my.yaml:1:20: not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '{'; "
                'inside {} and [] write "${...}" in quotes'
            )
        ],
    ),
    "a control character": ("receivers:\n  otlp: \x07\n", ["my.yaml:2:9: not valid YAML: control character '\\x07'"]),
    "two documents": (
        f"{MINIMAL}---\n{MINIMAL}",
        ["my.yaml:10:1: expected one YAML document, found another: give them as several --config"],
    ),
    "a tag": (
        with_line("  workers: !!python/object:os.system 5"),
        [
            (
                "my.yaml:10:12: tag tag:yaml.org,2002:python/object:os.system is not supported, "
                "only !!str, !!seq and !!map are"
            )
        ],
    ),
    "a key that is none": ("? [a]\n: b\n", ["my.yaml:1:3: a key must be a single value, not a list or a mapping"]),
    "an alias of nothing": ("a: *b\n", ["my.yaml:1:4: alias *b has no anchor &b before it"]),
    "an alias of itself": ("a: &b [*b]\n", ["my.yaml:1:8: alias *b has no anchor &b before it"]),
    "a merge of nothing": (
        "a: {<<: [1]}\n",
        ["my.yaml:1:9: << merges mappings: give it the alias of one, or a list of such aliases"],
    ),
    "a list": (
        "- a\n",
        ["my.yaml:1:1: expected a mapping with the sections receivers, buffers, exporters and service"],
    ),
    "nothing": (
        "# all commented out\n",
        [
            (
                "my.yaml:1:1: empty configuration: "
                "expected a mapping with the sections receivers, buffers, exporters and service"
            )
        ],
    ),
    "control characters in names": (
        with_line('"\\e[31mred\\n": '),
        [
            (
                "my.yaml:10:1: \\x1b[31mred\\n: unknown key "
                "(valid keys: receivers, processors, buffers, exporters, extensions, metadata, service)"
            )
        ],
    ),
}
