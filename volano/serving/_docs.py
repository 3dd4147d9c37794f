"""The page at /docs: one file that needs nothing from elsewhere, since a user may be offline."""

from __future__ import annotations

__all__ = ["PAGE"]

PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Service</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --post: #2563eb; --get: #15803d; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } code, pre, textarea, input { font: 13px/1.5 ui-monospace, monospace; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .7rem 0; padding: .5rem 1rem; }
summary { cursor: pointer; } summary code { font-size: 15px; margin: 0 .6rem; }
b.post, b.get { color: #fff; border-radius: 4px; padding: .1rem .5rem; font-size: 12px; }
b.post { background: var(--post); } b.get { background: var(--get); }
pre, textarea { background: var(--soft); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem; overflow: auto; max-height: 24rem; }
textarea { width: 100%; box-sizing: border-box; min-height: 6rem; color: inherit; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
button { padding: .3rem 1rem; border-radius: 6px; border: 1px solid var(--line); cursor: pointer; }
</style></head><body>
<h1 id="title">...</h1><p id="about"></p><main id="paths"></main>
<p><a href="openapi.json">openapi.json</a></p>
<script>
"use strict";
const make = (tag, text, parent, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  parent?.append(node);
  return node;
};
const pretty = value => JSON.stringify(value, null, 2);
fetch("openapi.json").then(answer => answer.json()).then(api => {
  const open = schema => {
    if (Array.isArray(schema)) return schema.map(open);
    if (schema === null || typeof schema !== "object") return schema;
    if (schema.$ref) return open(api.components.schemas[schema.$ref.split("/").pop()]);
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, open(value)]));
  };
  document.title = api.info.title;
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("about").textContent =
    api.info.description + " Bundle " + api.info.version + ".";
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, call] of Object.entries(methods)) {
      const box = make("details", undefined, document.getElementById("paths"));
      const head = make("summary", undefined, box);
      make("b", method.toUpperCase(), head, method);
      make("code", path, head);
      make("span", call.summary, head);
      const fields = {};
      for (const item of call.parameters ?? []) {
        const line = make("p", undefined, box);
        make("code", item.name + " ", line);
        fields[item.name] = make("input", undefined, line);
        fields[item.name].placeholder = String(item.schema.default ?? "");
        make("span", " " + (item.description ?? ""), line);
      }
      let body;
      const content = call.requestBody?.content["application/json"];
      if (content) {
        make("p", "Body", box);
        body = make("textarea", undefined, box);
        const examples = Object.entries(content.examples ?? {});
        body.value = examples.length ? pretty(examples[0][1].value) : "";
        for (const [name, example] of examples) {
          const choice = make("button", name, box);
          choice.onclick = () => { body.value = pretty(example.value); };
        }
      }
      const send = make("button", "Send", box);
      const shown = make("pre", "", box);
      shown.hidden = true;
      send.onclick = async () => {
        const query = new URLSearchParams();
        for (const [name, field] of Object.entries(fields))
          if (field.value) query.set(name, field.value);
        const where = path.slice(1) + (query.size ? "?" + query : "");
        const options = { method: method.toUpperCase() };
        if (body) {
          options.body = body.value;
          options.headers = { "content-type": "application/json" };
        }
        shown.hidden = false;
        try {
          const answer = await fetch(where, options);
          shown.textContent = answer.status + "\\n" + pretty(await answer.json());
        } catch (error) { shown.textContent = String(error); }
      };
      const table = make("table", undefined, box);
      for (const [status, answer] of Object.entries(call.responses)) {
        const line = make("tr", undefined, table);
        make("td", status, line);
        make("td", answer.description, line);
      }
      const schemas = make("details", undefined, box);
      make("summary", "Schemas", schemas);
      const found = { takes: open(content?.schema ?? null),
        gives: open(call.responses["200"].content["application/json"].schema) };
      make("pre", pretty(found), schemas);
    }
});
</script></body></html>
"""
