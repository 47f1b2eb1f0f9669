"""Configure the LiteLLM proxy with one worker, in the two ways that suit it best.

It knows the master key alone, or keys with RPM and TPM through ``custom_auth``. Virtual keys,
budgets and a log would need a database, whose engine is downloaded at run time.
"""

import shutil
from pathlib import Path

import msgspec

from benches.load.case import Server
from benches.load.rivals import environment, version, write_json
from nemorouter.bench.client import ask, request
from nemorouter.bench.servers import BODY, CHAT, UNKNOWN_KEY

MASTER, LIMITED, FIVE, NONE = ("sk-nemo-" + letter * 20 for letter in "mlfn")
_AUTH = Path(__file__).parent / "apps" / "litellm_auth.py"
_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
}
_ANSWER = "Say hello to the world, and be brief about it."


def litellm(folder: Path, *, limits: bool, upstream_port: int = 0) -> Server:
    """Make LiteLLM with RPM and TPM through ``custom_auth`` if ``limits``, else with a master key.

    Model ``gpt-4o`` has a mocked answer; model ``real`` goes to the provider on ``upstream_port``.
    """
    name = "LiteLLM, custom_auth" if limits else "LiteLLM, master key"
    folder = folder / name.replace(" ", "-").replace(",", "")
    folder.mkdir(exist_ok=True)
    shutil.copy(_AUTH, folder)
    auth = {"master_key": MASTER}
    if limits:
        auth["custom_auth"] = "litellm_auth.user_api_key_auth"
    mocked = {"model": "openai/gpt-4o", "api_key": "none", "mock_response": _ANSWER}
    forwarded = {
        "model": "openai/gpt-4o",
        "api_key": "none",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
    }
    models = [
        {"model_name": "gpt-4o", "litellm_params": mocked},
        {"model_name": "real", "litellm_params": forwarded},
    ]
    file = write_json(folder / "config.yaml", {"model_list": models, "general_settings": auth})
    program = environment("litellm") / "litellm"

    def command(port: int) -> list[str]:
        options = f"--host 127.0.0.1 --port {port} --num_workers 1"
        return [str(program), "--config", str(file), *options.split()]

    def ready(port: int) -> bool:
        return ask(port, request("/health/liveliness", method="GET"), 5).status == 200

    check = _check_limits if limits else _check_master
    return Server(name, version("litellm"), command, ready, check, lambda _: _ENV, cwd=folder)


def _check_master(port: int) -> None:
    answer = ask(port, request(CHAT, BODY, MASTER))
    assert answer.status == 200, answer
    assert msgspec.json.decode(answer.body)["choices"][0]["message"]["content"] == _ANSWER
    assert ask(port, request(CHAT, BODY, UNKNOWN_KEY)).status >= 400


def _check_limits(port: int) -> None:
    assert ask(port, request(CHAT, BODY, LIMITED)).status == 200
    assert ask(port, request(CHAT, BODY, NONE)).status == 429
    five = [ask(port, request(CHAT, BODY, FIVE)).status for _ in range(8)]
    assert five[:5] == [200] * 5, five
    assert five[-1] == 429, five
    assert ask(port, request(CHAT, BODY, UNKNOWN_KEY)).status >= 400
