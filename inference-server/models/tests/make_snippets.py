"""Renders snippets as transformers sets jinja2 up, and writes them with their texts.

Run it with jinja2 3.1 installed: python make_snippets.py > snippets.jsonl
"""

import json
from datetime import datetime

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

with open("snippets.txt") as file:
    for line in file:
        source = json.loads(line)
        try:
            text = ENVIRONMENT.from_string(source).render(
                messages=MESSAGES, tools=None, documents=None, add_generation_prompt=False,
                bos_token="<s>", eos_token="</s>",
            )
        except Exception as error:
            text = None
        print(json.dumps({"source": source, "text": text}, ensure_ascii=False))
