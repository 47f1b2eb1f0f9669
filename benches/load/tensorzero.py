"""TensorZero with Redis: requests and tokens a minute, with reservation, by a tag, in front of the
local provider.

The wheel's gateway has no authentication, no budget and no log here. Redis is its child, so its
time counts.
"""

import shutil
from pathlib import Path

import msgspec

from benches.load.case import Server, UnavailableError
from benches.load.rivals import environment, version
from nemorouter.bench.client import ask, request
from nemorouter.bench.process import Running, free_port

PATH = "/openai/v1/chat/completions"
_APP = Path(__file__).parent / "apps" / "tensorzero_gateway.py"
_CONFIG = """
[gateway]
observability.enabled = false

[rate_limiting]
enabled = true
backend = "valkey"

[[rate_limiting.rules]]
model_inferences_per_minute = 1000000000
tokens_per_minute = 1000000000000
always = true
scope = [{{ tag_key = "user", tag_value = "bench" }}]

[[rate_limiting.rules]]
model_inferences_per_minute = {{ capacity = 5, refill_rate = 1 }}
always = true
scope = [{{ tag_key = "user", tag_value = "five" }}]

[models.gpt-4o]
routing = ["local"]

[models.gpt-4o.providers.local]
type = "openai"
model_name = "gpt-4o"
api_base = "http://127.0.0.1:{port}/v1/"
api_key_location = "none"
"""


def body(user: str) -> bytes:
    """The same question, with the tag by which it limits."""
    return msgspec.json.encode(
        {
            "model": "tensorzero::model_name::gpt-4o",
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Say hello to the world, and be brief about it."},
            ],
            "max_tokens": 16,
            "tensorzero::tags": {"user": user},
        }
    )


def tensorzero(folder: Path, upstream_port: int) -> Server:
    """In front of the local provider."""
    if shutil.which("redis-server") is None:
        raise UnavailableError("redis-server is not installed")
    file, redis_port = folder / "tensorzero.port", free_port()
    config = folder / "tensorzero.toml"
    config.write_text(_CONFIG.format(port=upstream_port), "utf-8")
    python = environment("tensorzero") / "python"

    def command(_: int) -> list[str]:
        return [str(python), str(_APP), str(config), str(file), str(redis_port)]

    def port_of(_: Running) -> int:
        return int(file.read_text("ascii"))

    def ready(_: int) -> bool:
        return (
            file.exists()
            and ask(int(file.read_text("ascii")), request("/health", method="GET"), 2).status > 0
        )

    env = {"RUST_LOG": "error"}
    return Server(
        "TensorZero", version("tensorzero"), command, ready, check, lambda _: env, port_of=port_of
    )


def check(port: int) -> None:
    """It answers, and a limit of five admits five."""
    answer = ask(port, request(PATH, body("bench")))
    assert answer.status == 200, answer
    assert msgspec.json.decode(answer.body)["object"] == "chat.completion"
    five = [ask(port, request(PATH, body("five"))).status for _ in range(7)]
    assert five[:5] == [200] * 5, five
    assert five[-1] == 429, five
