"""Compare what ``peek`` reads of a body with the JSON readers of Python, Node and Go.

A body that is accepted must mean the same to each of them: the limiter and the upstream see one
model, one maximum. Readers that are not installed are named and left out.
"""

import argparse
import base64
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nemorouter import _core

Meaning = list[Any]
"""Model, stream and maximum; or None for a body that the reader refuses."""

_NODE: Final = """
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(Boolean);
for (const line of lines) {
  let told = null;
  try {
    const body = JSON.parse(Buffer.from(line, 'base64').toString('utf8'));
    told = [body.model, body.stream ?? false, body.max_tokens ?? -1];
  } catch (error) {}
  console.log(JSON.stringify(told));
}
"""
_GO: Final = """
package main

import ("bufio"; "encoding/base64"; "encoding/json"; "fmt"; "os")

type Body struct {
	Model     string `json:"model"`
	Stream    bool   `json:"stream"`
	MaxTokens *int64 `json:"max_tokens"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		raw, _ := base64.StdEncoding.DecodeString(lines.Text())
		var body Body
		if json.Unmarshal(raw, &body) != nil {
			fmt.Println("null")
			continue
		}
		most := int64(-1)
		if body.MaxTokens != nil {
			most = *body.MaxTokens
		}
		out, _ := json.Marshal([]any{body.Model, body.Stream, most})
		fmt.Println(string(out))
	}
}
"""
_SEEDS: Final = (
    '{"model":"m","stream":true,"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}',
    '{"model":"gpt-4o","max_tokens":null,"stream":false,"n":1}',
    '{"mod\\u0065l":"\\u00e9\\ud83d\\ude00","max_tokens":10000000}',
    '{"model":"m","Model":"n","MAX_TOKENS":7}',
    '{"model":"m","max_tokens":5,"max_tokens":6}',
    '{"model":"m","max_to\u212aens":9}',
)
_WORDS: Final = (
    *('"model":', '"MODEL":"x",', '"max_tokens":', "1e2", "1.0", "-0", "01", "null", "true", '"'),
    *("\\u0000", "\\", "\ufeff", "\x00", "\t", "{", "}", ",", ":", "\u017f", "\\u006d", "NaN"),
)


def _mutated(chance: random.Random) -> bytes:
    text = chance.choice(_SEEDS)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.randrange(12))
        piece = chance.choice((chance.choice(_WORDS), text[at:end] * 2, ""))
        text = text[:at] + piece + text[end:]
    return text.encode("utf-8", "surrogatepass")


def _python(bodies: list[bytes]) -> list[Meaning | None]:
    found: list[Meaning | None] = []
    for body in bodies:
        told = json.loads(body)
        most = told.get("max_tokens")
        found.append([told["model"], bool(told.get("stream")), -1 if most is None else most])
    return found


def _program(command: list[str]) -> Callable[[list[bytes]], list[Meaning | None]]:
    def read(bodies: list[bytes]) -> list[Meaning | None]:
        lines = b"".join(base64.b64encode(body) + b"\n" for body in bodies)
        done = subprocess.run(command, input=lines, capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read


def _normal(meaning: Meaning | None) -> Meaning | None:
    if meaning is None:
        return None
    model, stream, most = meaning
    return [model, bool(stream), most]


def main() -> int:
    """Print how many bodies were compared with which readers; 1 if one means something else."""
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=200_000)
    given = options.parse_args()
    chance = random.Random(given.seed)
    bodies: list[bytes] = []
    meant: list[Meaning] = []
    for _ in range(given.count):
        body = _mutated(chance)
        seen = _core.peek(body, 0)
        if not isinstance(seen, tuple) and "\\ud" not in body.decode().lower():
            bodies.append(body)
            meant.append([seen.model, seen.stream, seen.output])
    with tempfile.TemporaryDirectory() as folder:
        readers = {"python": _python} | _installed(Path(folder))
        faults = [
            (name, body, told, other)
            for name, read in readers.items()
            for body, told, other in zip(bodies, meant, read(bodies), strict=True)
            if _normal(other) != told
        ]
    missing = {"python", "node", "go"} - set(readers)
    print(f"{given.count} bodies, {len(bodies)} accepted, seed {given.seed}", end="; ")
    print(f"read by {', '.join(readers)}; not installed: {', '.join(missing) or 'none'}", end="; ")
    print(f"{len(faults)} mean something else")
    for fault in faults[:10]:
        print(*fault)
    return 1 if faults else 0


def _installed(folder: Path) -> dict[str, Callable[[list[bytes]], list[Meaning | None]]]:
    """Return the readers that are other programs, as far as they are installed."""
    readers = {}
    if node := shutil.which("node"):
        (folder / "reader.js").write_text(_NODE)
        readers["node"] = _program([node, str(folder / "reader.js")])
    if go := shutil.which("go"):
        (folder / "reader.go").write_text(_GO)
        built = [go, "build", "-o", str(folder / "reader"), str(folder / "reader.go")]
        subprocess.run(built, check=True, capture_output=True)
        readers["go"] = _program([str(folder / "reader")])
    return readers


if __name__ == "__main__":
    sys.exit(main())
