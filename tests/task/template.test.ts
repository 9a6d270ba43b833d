// Which fields a template asks of a row, and the suggestions for wrong names.
import { expect, test } from "vitest";
import { editDistance, nearestName, parseTemplate, templateFields } from "../../src/task/index.js";

const fields = (template: string) => templateFields(parseTemplate(template, "a test"));

test.each([
  ["Review: {{ text }}\nSentiment:", ["text"], ["text"]],
  ["{{ a and b }} {{ not c }} {{ d ~ e | trim }}", ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e"]],
  ["{% if context %}{{ context }} {% endif %}{{ question }}", ["context", "question"], ["question"]],
  ["{% if context is defined %}x{% else %}{{ other }}{% endif %}", ["context", "other"], ["other"]],
  ["{{ hint | default('none') }}{{ a if b else c }}", ["hint", "a", "b", "c"], ["a", "c"]],
  ["{% for choice in choices %}{{ loop.index }}. {{ choice.text }}{% endfor %}", ["choices"], ["choices"]],
  [
    "{% set upper = text | upper %}{{ upper }}{% macro show(x, y=1) %}{{ x }}{{ y }}{% endmacro %}{{ show(title) }}",
    ["text", "title"],
    ["text", "title"],
  ],
  [
    "{{ row['text'] }}{{ list[index] }}{{ dict.get('key') }}",
    ["row", "list", "index", "dict"],
    ["row", "list", "index", "dict"],
  ],
  ["no field {# {{ comment }} #}", [], []],
])("%s", (template, all, required) => {
  expect(fields(template).all.sort()).toEqual([...all].sort());
  expect(fields(template).required.sort()).toEqual([...required].sort());
});

test("templates that are too long or that would stall the parser are refused at once", () => {
  const start = performance.now();
  expect(() => fields("x".repeat(70_000))).toThrow(/at most 65536 characters/);
  expect(() => fields(" ".repeat(60_000))).toThrow(/fewer than 1000 white-space/);
  expect(() => fields(`{{ ${"(".repeat(20_000)}x }}`)).toThrow(/expected a Jinja template for a test/);
  expect(performance.now() - start).toBeLessThan(2000);
});

test("edit distance counts insertions, deletions, replacements and swaps", () => {
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(editDistance("form", "from")).toBe(1);
  expect(editDistance("", "abc")).toBe(3);
});

test("the nearest name is suggested only when it is near", () => {
  expect(nearestName("templat", ["template", "separator"])).toBe("template");
  expect(nearestName("Metric", ["metric", "name"])).toBe("metric");
  expect(nearestName("xy", ["name", "kind"])).toBeNull();
  expect(nearestName("foo", ["F32", "F16"])).toBeNull();
  expect(nearestName("fp16", ["F32", "F16"])).toBe("F16");
});
