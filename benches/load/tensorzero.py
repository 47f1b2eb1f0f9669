"""Configure TensorZero with a Redis, in front of the local provider.

It limits requests and tokens a minute by a tag, and reserves them. The wheel's gateway has no
authentication, no budget and no log here. Redis is a child of it, so Redis' CPU time counts.
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
    """Build the benchmark's question with the tag ``user``, by which TensorZero limits."""
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
    """Make TensorZero in front of the local provider on ``upstream_port``."""
    if shutil.which("redis-server") is None:
        raise UnavailableError("redis-server is not installed")
    file = folder / "tensorzero.port"
    redis_port = free_port()
    config = folder / "tensorzero.toml"
    config.write_text(_CONFIG.format(port=upstream_port), "utf-8")
    python = environment("tensorzero") / "python"

    def command(_: int) -> list[str]:
        return [str(python), str(_APP), str(config), str(file), str(redis_port)]

    def port_of(_: Running) -> int:
        return int(file.read_text("ascii"))

    def ready(_: int) -> bool:
        if not file.exists():
            return False
        port = int(file.read_text("ascii"))
        return ask(port, request("/health", method="GET"), 2).status > 0

    env = {"RUST_LOG": "error"}
    return Server(
        "TensorZero", version("tensorzero"), command, ready, check, lambda _: env, port_of=port_of
    )


def check(port: int) -> None:
    """Check an answer, and that a limit of five admits five."""
    answer = ask(port, request(PATH, body("bench")))
    assert answer.status == 200, answer
    assert msgspec.json.decode(answer.body)["object"] == "chat.completion"
    five = [ask(port, request(PATH, body("five"))).status for _ in range(7)]
    assert five[:5] == [200] * 5, five
    assert five[-1] == 429, five
