"""The OpenAI client that the Langfuse SDK offers in place of the original; it exports by itself."""

from langfuse import get_client, propagate_attributes
from langfuse.openai import OpenAI
from openai import RateLimitError

from tests.live import conversation as said
from tests.live.applications import talk_with_openai_client

langfuse = get_client()
with propagate_attributes(user_id=said.USER, session_id=said.SESSION):
    talk_with_openai_client(
        OpenAI(max_retries=0),
        lambda name: langfuse.start_as_current_observation(name=name),
        RateLimitError,
    )
langfuse.shutdown()
