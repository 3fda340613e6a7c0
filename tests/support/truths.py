"""What the model servers behind the recordings really answered: tests/truths, by recording."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from tests.support.golden import sources

FOLDER: Final = Path(__file__).parent.parent / "truths"
BUCKETS: Final = ("input", "input_cached_tokens", "input_cache_creation", "output", "output_reasoning_tokens")
_FILES: Final = {"js": "javascript.yaml", "python": "otel_family.yaml"}
_WHOLES: Final = {"input_cached_tokens": "input", "output_reasoning_tokens": "output"}


def read_truths(name: str) -> Any:
    """A file of tests/truths."""
    return YAML(typ="safe", pure=True).load((FOLDER / name).read_text("utf-8"))


TRUTHS: Final = {language: read_truths(name) for language, name in _FILES.items()}


class Case(NamedTuple):
    """One recording of one scenario, and what is true of its model calls.

    Attributes:
        language: js or python.
        source: who recorded.
        scenario: without the encoding that JavaScript's recordings have in their names.
        recording: its name.
        calls: what the server answered; `model` is the family of the model, without its date.
        unsaid: what the source's spans do not say.
        times: how often each call counts in the store; 1, but for what no rule can join.
    """

    language: str
    source: str
    scenario: str
    recording: str
    calls: list[dict[str, Any]]
    unsaid: list[str]
    times: int

    def __str__(self) -> str:
        return f"{self.language}/{self.source}/{self.recording}"

    def usages(self) -> list[dict[str, int]]:
        """Tokens by bucket of each call, as far as the source says them."""
        return [_usage(call, self.unsaid) for call in self.calls]


def _usage(call: dict[str, Any], unsaid: list[str]) -> dict[str, int]:
    usage = {name: call.get(name, 0) for name in BUCKETS}
    for name in _WHOLES.keys() & {*unsaid}:
        usage[_WHOLES[name]] += usage[name]
        usage[name] = 0
    return usage


def _cases(language: str) -> list[Case]:
    """Every recording of a scenario that has a truth; in JavaScript one an encoding and transport."""
    found = []
    for source, entries in TRUTHS[language]["sources"].items():
        for entry in entries:
            prefix = entry.get("prefix", "")
            for recording in sources()[f"{language}/{source}"]:
                scenario = recording.rpartition(".")[0] if language == "js" else recording
                name = scenario.removeprefix(prefix)
                if name in TRUTHS[language]["calls"][entry["server"]] and scenario == prefix + name:
                    times = 2 if name in entry.get("twice", ()) else 1
                    calls = _calls(language, entry, name)
                    found.append(Case(language, source, scenario, recording, calls, entry.get("unsaid", []), times))
    return found


def _calls(language: str, entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    truths = TRUTHS[language]
    place = f"{entry['server']}/{name}"
    model = next(model for pattern, model in truths["models"].items() if fnmatchcase(place, pattern))
    wrong = entry.get("wrong", {}).get(name, {})
    return [{"model": model} | call | wrong for call in truths["calls"][entry["server"]][name]]


CASES: Final = [case for language in TRUTHS for case in _cases(language)]
