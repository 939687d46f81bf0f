"""Renders the page /docs from the OpenAPI document, so that both say the same."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from service.html import frame

Node = Mapping[str, Any]

_METHODS = ("get", "post", "delete")
_MORE = """  <meta name="description" content="How programs use MD5 light.">
  <link rel="stylesheet" href="docs/docs.css">
"""
_INTRO = """    <p>The API, version {version}. For programs:
      <a href="docs/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
"""


def render(document: Node) -> str:
    """Return the page of an OpenAPI document. Raises KeyError if it refers to what it lacks."""
    sections = (
        _section("in-short", "In short", _markdown(document["info"]["description"])),
        *_render_operations(document),
        *_render_choices(document),
    )
    intro = _INTRO.format(version=escape(document["info"]["version"]))
    return frame("The API of MD5 light", "".join(sections), more=_MORE, intro=intro)


def _render_operations(document: Node) -> Iterator[str]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if operation := item.get(method):
                heading = f"<code>{method.upper()} {escape(path)}</code>"
                body = "".join(_render_operation(document, operation))
                yield _section(operation["operationId"], heading, body)


def _render_operation(document: Node, operation: Node) -> Iterator[str]:
    yield _markdown(f"{operation['summary']}.")
    yield _markdown(operation.get("description", ""))
    fields = list(_parameters(document, operation))
    if fields:
        yield "<h3>Parameters</h3>\n" + _definitions(fields)
    if body := operation.get("requestBody"):
        yield "<h3>Bodies</h3>\n"
        yield from _render_examples(body)
    yield "<h3>Answers</h3>\n"
    for status, response in operation["responses"].items():
        yield from _render_response(document, status, _resolve(document, response))


def _parameters(document: Node, operation: Node) -> Iterator[tuple[str, str, str]]:
    for each in operation.get("parameters", ()):
        parameter = _resolve(document, each)
        schema = _resolve(document, parameter["schema"])
        note = parameter.get("x-note") or ("required" if parameter.get("required") else "optional")
        if parameter["in"] == "header":
            note = f"header, {note}"
        texts = (schema.get("description"), parameter.get("description"))
        yield parameter["name"], note, " ".join(filter(None, texts))


def _render_response(document: Node, status: str, response: Node) -> Iterator[str]:
    yield _markdown(f"**{status}**: {response['description']}")
    headers = {
        name: _resolve(document, header) for name, header in response.get("headers", {}).items()
    }
    fields = [(name, "header", each.get("description", "")) for name, each in headers.items()]
    content = response.get("content", {}).get("application/json", {})
    if codes := _codes(content.get("schema", {})):
        yield _markdown("`error.code` is " + " or ".join(f"`{code}`" for code in codes) + ".")
    else:
        fields += _properties(document, content.get("schema", {}))
    if fields:
        yield _definitions(fields)
    yield from _render_examples(response)


def _render_examples(node: Node) -> Iterator[str]:
    """Yield the examples of a body, with their media type if there are several."""
    content = node.get("content", {})
    for media_type, each in content.items():
        examples = [example["value"] for example in each.get("examples", {}).values()]
        if "example" in each:
            examples.append(each["example"])
        if examples and len(content) > 1:
            yield _markdown(f"`{media_type}`:")
        for example in examples:
            is_text = isinstance(example, str)
            yield _code(example if is_text else json.dumps(example, indent=2, ensure_ascii=False))


def _properties(document: Node, schema: Node) -> Iterator[tuple[str, str, str]]:
    resolved = _resolve(document, schema)
    required = resolved.get("required", ())
    for name, each in resolved.get("properties", {}).items():
        target = _resolve(document, each)
        texts = [each.get("description") or target.get("description", "")]
        if "enum" in target:
            texts.append(f"One of {', '.join(f'`{value}`' for value in target['enum'])}.")
        if "const" in target:
            texts.append(f"`{target['const']}`")
        yield name, "" if name in required else "optional", " ".join(filter(None, texts))


def _codes(schema: Node) -> list[str]:
    """Return the codes of an error, which a schema lists beside the shape of errors."""
    for part in schema.get("allOf", ()):
        error = part.get("properties", {}).get("error", {}).get("properties", {})
        codes: list[str] = error.get("code", {}).get("enum", [])
        if codes:
            return codes
    return []


def _render_choices(document: Node) -> Iterator[str]:
    """Yield a section for each schema that names values and explains each of them."""
    for name, schema in document["components"]["schemas"].items():
        if choices := schema.get("oneOf"):
            fields = [(each["const"], "", each["description"]) for each in choices]
            yield _section(name, escape(schema.get("title", name)), _definitions(fields))


def _resolve(document: Node, node: Node) -> Node:
    """Return what a reference refers to, with what stands beside the reference."""
    if "$ref" not in node:
        return node
    found: Any = document
    for key in node["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return {**_resolve(document, found), **{k: v for k, v in node.items() if k != "$ref"}}


def _section(name: str, heading: str, body: str) -> str:
    return f'    <section class="card" id="{name}">\n<h2>{heading}</h2>\n{body}    </section>\n\n'


def _definitions(fields: Iterable[tuple[str, str, str]]) -> str:
    items = (
        f"<dt><code>{escape(name)}</code>{f' <span>{escape(note)}</span>' if note else ''}</dt>\n"
        + (f"<dd>{_inline(text)}</dd>\n" if text else "")
        for name, note, text in fields
    )
    return f"<dl>\n{''.join(items)}</dl>\n"


def _markdown(text: str) -> str:
    """Return paragraphs and fenced code as HTML, the part of CommonMark that the document uses."""
    parts = re.split(r"^```\w*\n(.*?)^```$\n?", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs = (
        _code(part)
        if number % 2
        else "".join(
            f"<p>{_inline(each)}</p>\n" for each in part.strip().split("\n\n") if each.strip()
        )
        for number, part in enumerate(parts)
    )
    return "".join(paragraphs)


def _inline(text: str) -> str:
    escaped = escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"\[([^]]+)\]\(/?([^)]*)\)", r'<a href="\2">\1</a>', escaped)


def _code(text: str) -> str:
    return f'<pre tabindex="0"><code>{escape(text.rstrip(), quote=False)}\n</code></pre>\n'
