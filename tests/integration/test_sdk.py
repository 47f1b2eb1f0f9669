"""The OpenAI SDK as it is, against the gateway with its built-in upstream."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from nemorouter.services.budgets.budgets import NewBudget
from tests.support.servers import Host, Server


@pytest.fixture(scope="module", params=["rsgi", "uvicorn"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Server]]:
    host = Host(tmp_path_factory.mktemp("sdk"))
    with host.serve(request.param) as server:
        yield host, server


def client(served: tuple[Host, Server], **limits: Any) -> openai.OpenAI:
    key = served[0].key(f"key {len(limits)} {sorted(limits)}", **limits)
    return openai.OpenAI(
        api_key=key, base_url=f"http://127.0.0.1:{served[1].port}/v1", max_retries=0
    )


HELLO: list[Any] = [{"role": "user", "content": "Say hello"}]


def test_everyday_calls(served: tuple[Host, Server]) -> None:
    with client(served) as sdk:
        chat = sdk.chat.completions.create(model="echo", messages=HELLO)
        assert chat.choices[0].message.content == "Say hello"
        assert chat.usage is not None
        assert chat.usage.completion_tokens == 3

        chunks = list(sdk.chat.completions.create(model="echo", messages=HELLO, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Say hello"
        assert all(chunk.usage is None for chunk in chunks)

        told = list(
            sdk.chat.completions.create(
                model="echo", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
        )
        assert told[-1].usage == chat.usage
        assert (told[-1].model_extra or {})["nemo_request_cost"] == "0.000009000"

        vectors = sdk.embeddings.create(model="echo-embedding", input=["a", "b", "a"]).data
        assert vectors[0].embedding == vectors[2].embedding != vectors[1].embedding
        assert sum(x * x for x in vectors[0].embedding) == pytest.approx(1, abs=1e-3)

        assert "echo" in {model.id for model in sdk.models.list()}
        assert sdk.models.retrieve("echo").owned_by == "echo"
        assert sdk.completions.create(model="echo", prompt="abc").choices[0].text == "abc"
        assert sdk.moderations.create(model="echo", input="abc").results[0].flagged is False
        assert sdk.images.generate(model="echo", prompt="abc", n=2).data is not None


def test_responses(served: tuple[Host, Server]) -> None:
    with client(served) as sdk:
        assert sdk.responses.create(model="echo", input="Say hello").output_text == "Say hello"
        with sdk.responses.stream(model="echo", input="Say hello") as stream:
            text = "".join(
                event.delta for event in stream if event.type == "response.output_text.delta"
            )
            assert text == "Say hello"
            assert stream.get_final_response().usage is not None


def test_exceptions(served: tuple[Host, Server]) -> None:
    url = f"http://127.0.0.1:{served[1].port}/v1"
    wrong = openai.OpenAI(api_key="sk-nemo-" + "w" * 20, base_url=url, max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError, match=r"Invalid API key provided\."):
        wrong.chat.completions.create(model="echo", messages=HELLO)
    with (
        client(served, allowed_models=("gpt-4o",)) as sdk,
        pytest.raises(openai.PermissionDeniedError) as denied,
    ):
        sdk.chat.completions.create(model="echo", messages=HELLO)
    assert denied.value.code == "model_not_allowed"
    with client(served, rpm=1) as sdk:
        sdk.chat.completions.create(model="echo", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as limited:
            sdk.chat.completions.create(model="echo", messages=HELLO)
    assert limited.value.code == "rate_limit_exceeded"
    budget = NewBudget(max_spend="0.000001")
    with client(served, budget=budget) as sdk, pytest.raises(openai.APIStatusError) as broke:
        sdk.chat.completions.create(model="echo", messages=HELLO)
    assert broke.value.status_code == 402
    assert broke.value.type == "budget_error"
    with client(served) as sdk, pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model="echo", messages=HELLO, max_tokens=-1)
