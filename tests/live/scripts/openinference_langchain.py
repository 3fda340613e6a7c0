"""OpenInference around LangChain's chat model."""

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai import RateLimitError
from openinference.instrumentation.langchain import LangChainInstrumentor

from tests.live import conversation as said
from tests.live.conversation import Scenario
from tests.live.telemetry import telemetry

_ASKED = [SystemMessage(said.SYSTEM), HumanMessage(said.QUESTION)]
_KNOWN = {"metadata": {"session_id": said.SESSION, "user_id": said.USER}}


def _talk(model: ChatOpenAI, scenario: Scenario) -> None:
    with scenario("chat"):
        model.invoke(_ASKED, config=_KNOWN)
    with scenario("stream"):
        assert "".join(chunk.text for chunk in model.stream(_ASKED, config=_KNOWN)) == said.ANSWER
    with scenario("tools"):
        equipped = model.bind_tools(said.OPENAI_TOOLS)
        call = equipped.invoke(_ASKED, config=_KNOWN)
        result = ToolMessage(said.RESULT, tool_call_id=said.CALL_ID)
        equipped.invoke([*_ASKED, call, result], config=_KNOWN)
    with scenario("error"):
        try:
            model.invoke([HumanMessage(said.PROVOKING)], config=_KNOWN)
        except RateLimitError:
            return
        raise AssertionError("the model server did not refuse")


with telemetry() as scenario:
    LangChainInstrumentor().instrument()
    _talk(ChatOpenAI(model=said.OPENAI_MODEL, max_retries=0, stream_usage=True), scenario)
