"""Examples to paste, with a key filled in."""


def snippets(base: str, key: str) -> list[tuple[str, str]]:
    """Write one request for curl, Python and Node. ``base`` ends in ``/v1``."""
    curl = f"""curl {base}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "echo", "messages": [{{"role": "user", "content": "Hello, Nemo!"}}]}}'"""
    python = f"""from openai import OpenAI

client = OpenAI(base_url="{base}", api_key="{key}")
answer = client.chat.completions.create(
    model="echo",
    messages=[{{"role": "user", "content": "Hello, Nemo!"}}],
)
print(answer.choices[0].message.content)"""
    node = f"""import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base}", apiKey: "{key}" }});
const answer = await client.chat.completions.create({{
  model: "echo",
  messages: [{{ role: "user", content: "Hello, Nemo!" }}],
}});
console.log(answer.choices[0].message.content);"""
    return [("curl", curl), ("Python", python), ("Node", node)]
