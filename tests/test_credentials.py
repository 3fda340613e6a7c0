"""What requests show of keys, read without asking anybody; and keys as texts."""

import base64
import string
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlp_receiver.credentials import Credentials, read_credentials
from otlp_receiver.keys import NewKey, generate_key, hash_secret, is_well_formed
from otlp_receiver.replies import UNAUTHENTICATED, Refused

_SECRET = "sk-4711-very-secret"


def _basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"authorization": f"Basic {_basic(f'pk-a:{_SECRET}')}"}, Credentials(_SECRET, "pk-a")),
        ({"authorization": f"basic   {_basic(f'pk-a:{_SECRET}')} "}, Credentials(_SECRET, "pk-a")),
        ({"authorization": f"Basic {_basic(f'pk:{_SECRET}').rstrip('=')}"}, Credentials(_SECRET, "pk")),
        ({"authorization": f"Basic {_basic(f':{_SECRET}')}"}, Credentials(_SECRET, "")),
        ({"authorization": f"Basic {_basic('pk:with:colons')}"}, Credentials("with:colons", "pk")),
        ({"authorization": f"Basic {_basic('pk:')}"}, Credentials("", "pk")),
        ({"authorization": f"Bearer {_SECRET}"}, Credentials(_SECRET)),
        ({"authorization": f"BEARER {_SECRET}"}, Credentials(_SECRET)),
        ({"x-api-key": f" {_SECRET} "}, Credentials(_SECRET)),
        ({"authorization": f"Bearer {_SECRET}", "x-api-key": "other"}, Credentials(_SECRET)),
        ({"authorization": "", "x-api-key": _SECRET}, Credentials(_SECRET)),
        ({"authorization": f"Bearer {_SECRET}".encode()}, Credentials(_SECRET)),
    ],
)
def test_ways_to_show_a_key(headers: dict[str, str | bytes], shown: Credentials) -> None:
    """Basic, Bearer and x-api-key, as senders write them; the first of the two headers counts."""
    assert read_credentials(headers) == shown


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "neither an Authorization nor an x-api-key header"),
        ({"x-api-key": " "}, "neither an Authorization nor an x-api-key header"),
        ({"authorization": "Bearer"}, "no key after Bearer"),
        ({"authorization": "Bearer   "}, "no key after Bearer"),
        ({"authorization": _SECRET}, "no scheme that is known here"),
        ({"authorization": f"Digest {_SECRET}"}, "no scheme that is known here"),
        ({"authorization": "Bearer s\u00fcss"}, "no scheme that is known here"),
        ({"authorization": "Bearer \udcff"}, "no scheme that is known here"),
        ({"authorization": f"Basic {_SECRET}:"}, "no base64 of text"),
        ({"authorization": f"Basic {base64.b64encode(b'pk:' + bytes([255])).decode()}"}, "no base64 of text"),
        ({"authorization": f"Basic {_basic(_SECRET)}"}, "holds no colon"),
        ({"authorization": "Basic"}, "holds no colon"),
    ],
)
def test_what_is_wrong_is_said(headers: dict[str, str], said: str) -> None:
    """The text names the part that cannot be read, and the forms that can; it quotes nothing."""
    with pytest.raises(Refused, match=said) as refused:
        read_credentials(headers)

    assert refused.value.situation is UNAUTHENTICATED
    assert _SECRET not in refused.value.message


_VALUES = st.text(max_size=60) | st.sampled_from(["Basic", "Bearer ", "basic "]).flatmap(
    lambda scheme: st.text(string.printable, max_size=40).map(lambda rest: scheme + rest)
)


@settings(max_examples=500)
@given(authorization=_VALUES, api_key=_VALUES)
def test_any_headers_are_read_or_refused(authorization: str, api_key: str) -> None:
    """Whatever is sent, there are credentials or a refusal."""
    read: Credentials | Refused
    try:
        read = read_credentials({"authorization": authorization, "x-api-key": api_key})
    except Refused as refused:
        read = refused

    assert isinstance(read, Credentials) or read.situation is UNAUTHENTICATED


def test_secrets_are_not_shown() -> None:
    """Neither credentials nor a new key give their secret away when they are printed."""
    assert _SECRET not in repr(Credentials(_SECRET, "pk"))
    assert _SECRET not in repr(NewKey("pk", _SECRET))


class TestKeys:
    """Keys as texts."""

    def test_a_new_key(self) -> None:
        """Its secret has 168 random bits in base32, its parts need no quoting anywhere, and none comes twice."""
        keys = [generate_key() for _ in range(200)]

        assert len({key.secret for key in keys}) == len({key.public_key for key in keys}) == 200
        for key in keys:
            assert len(key.secret) == len("sk-") + 40
            assert key.secret == unquote(quote(key.secret, safe=""))
            assert is_well_formed(key.secret)
            assert key.secret.endswith(key.display_suffix)
        assert all(len({key.secret[3 + place] for key in keys}) > 10 for place in range(33))

    @given(place=st.integers(0, 42), char=st.sampled_from(string.printable))
    def test_one_wrong_character(self, place: int, char: str) -> None:
        """A mistyped secret is told from a real one by itself."""
        secret = generate_key().secret
        mistyped = secret[:place] + char + secret[place + 1 :]

        assert is_well_formed(mistyped) == (mistyped == secret)

    @given(text=st.text(max_size=60))
    def test_garbage(self, text: str) -> None:
        """What was not made here is not well formed."""
        assert not is_well_formed(text)
        assert not is_well_formed(f"sk-{text}")

    @pytest.mark.parametrize("change", [str.upper, "{}=".format, "{} ".format, "sk-{}".format, lambda _: ""])
    def test_one_spelling(self, change: Callable[[str], str]) -> None:
        """There is one way to write a secret, or the cache could be filled with spellings of one."""
        assert not is_well_formed(change(generate_key().secret))

    def test_hash(self) -> None:
        """What is stored depends on the hash key, and is HMAC-SHA256."""
        by_hand = "ea9c7edf851849e67fc745cf20bddfe4a9cf3e7dc31319d64987058fd5a9f90b"  # RFC 2104

        assert hash_secret(b"k", "sk").hex() == by_hand
        assert hash_secret(b"k", "sk") != hash_secret(b"j", "sk")
