"""A coverage-guided fuzzer: `python -m tests.support.fuzz_decode protobuf|json FOLDER [libFuzzer options]`.

Breeds request bodies from the recorded ones, in FOLDER, where it keeps what it found. Whatever the bytes, decode and
map must give one outcome, records that agree with it, and no exception, and both decoders equal tables and words;
`-rss_limit_mb` and `-timeout` bound memory and time. The fuzzer itself grows by some KiB a body, so a long search is
many short ones over one FOLDER.
"""

import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args

import atheris

with atheris.instrument_imports(
    include=["otlp_receiver.decode", "otlp_receiver.mapping", "otlp_receiver.other_signals"]
):
    from otlp_receiver.decode import otlp_json, protobuf  # noqa: F401 - the instrumented ones
    from otlp_receiver.mapping import Plan, map_spans  # noqa: F401
    from otlp_receiver.other_signals import count_records

from config.conventions import load_conventions
from otlp_receiver.app import transform
from otlp_receiver.decode import native
from otlp_receiver.replies import Signal
from pipelines.ingest import Accepted, BadRequest, Encoding, Request, Stored
from tests.support.corpus import recordings
from tests.support.decoders import assert_same

_LARGEST_SEED_BYTES: Final = 16 * 1024
"""Small seeds are mutated thousands of times a second, large ones tens of times."""
_OPTIONS: Final = ("-timeout=20", "-max_len=65536", "-print_final_stats=1")
_MOST_MIB: Final = 1024


def check_of(encoding: Encoding) -> Callable[[bytes], None]:
    """What must hold of any body in this encoding."""
    decode_and_map = transform(load_conventions())

    def check(body: bytes) -> None:
        for signal in get_args(Stored):
            batches, (outcome,) = decode_and_map([Request(body, encoding, "default", 1, signal)])
            rows = {batch.kind: batch.rows for batch in batches}
            if native.kernel() and signal == "traces":
                assert_same((body, encoding))
            if isinstance(outcome, BadRequest):
                assert str(outcome)
                assert not any(rows.values())
            else:
                assert isinstance(outcome, Accepted)
                assert signal == "logs" or rows.get("observations", 0) == outcome.spans
        _check_count(encoding, body)

    return check


def _check_count(encoding: Encoding, body: bytes) -> None:
    for signal in get_args(Signal):
        with suppress(BadRequest):
            assert count_records(signal, encoding, body) >= 0


def write_seeds(encoding: Encoding, folder: Path) -> None:
    """The recorded requests of an encoding, decompressed, one a file."""
    for index, recording in enumerate(recordings()):
        body = recording.decompressed()
        if recording.encoding == encoding and len(body) <= _LARGEST_SEED_BYTES:
            (folder / f"seed-{index}").write_bytes(body)


def write_dictionary(file: Path) -> None:
    """The attribute keys that conventions look at: mutations would not guess them."""
    keys = {source.key for each in load_conventions() for sources in each.fields.values() for source in sources}
    file.write_text("".join(f'"{key}"\n' for key in sorted(keys) if re.fullmatch(r"[\w.-]+", key, re.ASCII)))


def main() -> None:
    """Fuzz until an option or a crash ends the process."""
    encoding: Any = sys.argv[1]
    folder = Path(sys.argv[2])
    bodies, dictionary = folder / "bodies", folder / "keys.dict"
    bodies.mkdir(parents=True, exist_ok=True)
    write_seeds(encoding, bodies)
    write_dictionary(dictionary)
    # Linux counts the peak of the process that started this one as its own.
    most_mib = _MOST_MIB + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    where = [str(bodies), f"-rss_limit_mb={most_mib}", f"-dict={dictionary}", f"-artifact_prefix={folder}/found-"]
    atheris.Setup([sys.argv[0], *where, *_OPTIONS, *sys.argv[3:]], check_of(encoding))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
