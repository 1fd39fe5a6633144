"""Renders the snippets of a table as transformers sets jinja2 up, and writes the table anew.

A line of the table is {"source", "text"}; a new one needs its source alone. Of a snippet that jinja2
refuses the text is null. Run it with jinja2 3.1 installed: python make_snippets.py
"""

import json
from datetime import datetime
from pathlib import Path

from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(line)

    def _run(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise ValueError(message)


ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
)
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = lambda form: datetime(2026, 2, 3).strftime(form)

MESSAGES = [
    {"role": "user", "content": " Hello, World "},
    {
        "role": "assistant",
        "content": "4",
        "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [True, None, 1.5, "é\"'"]}}}
        ],
    },
]

TABLE = Path(__file__).parent / "fixtures" / "snippets.jsonl"


def rendered(source):
    try:
        return ENVIRONMENT.from_string(source).render(
            messages=MESSAGES, tools=None, documents=None, add_generation_prompt=False,
            bos_token="<s>", eos_token="</s>",
        )
    except Exception:
        return None


rows = []
for line in TABLE.read_text().rstrip("\n").split("\n"):
    source = json.loads(line)["source"]
    rows.append(json.dumps({"source": source, "text": rendered(source)}, ensure_ascii=False) + "\n")
TABLE.write_text("".join(rows))
