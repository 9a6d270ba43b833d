// Chat templates written to harm: each is one error that says what is wrong, within two seconds and in little memory.
import { afterEach, beforeEach, expect, test } from "vitest";
import { compilePrompt, promptOf } from "../../src/prompt/index.js";
import { withinTime } from "../../src/prompt/limits.js";
import { chatMl, rowOf, taskOf } from "./rows.js";

const doubling = (start: string, step: string) =>
  `{% set ns = namespace(x=${start}) %}{% for i in range(64) %}{% set ns.x = ${step} %}{% endfor %}`;

// Which limit is met first depends on how busy the machine is.
const hostile: [string, string, RegExp][] = [
  [
    "nested loops",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}",
    /longer than 1 s|larger than/,
  ],
  [
    "nested loops without a body",
    "{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}{% endfor %}",
    /longer than 1 s/,
  ],
  ["a long range", "{{ range(1000000000) | length }}", /range gives more than 10000/],
  ["a range without an end", "{{ range(0, 10, 0) | length }}", /range gives more than 10000/],
  ["a range of nothing countable", "{{ range(0, 1, 0 / 0) | length }}", /range gives more than 10000/],
  ["a text that doubles", doubling("'x'", "ns.x ~ ns.x"), /larger than|longer than 1 s/],
  ["a list that doubles", doubling("[1]", "ns.x + ns.x"), /larger than|longer than 1 s/],
  ["a list of itself twice", `${doubling("[1]", "[ns.x, ns.x]")}{{ ns.x }}`, /larger than|longer than 1 s/],
  [
    "a namespace inside itself",
    "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns.x | tojson }}",
    /cannot be rendered/,
  ],
  ["a macro that calls itself", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", /cannot be rendered/],
  [
    "a macro that calls itself twice",
    "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    /longer than 1 s|cannot be rendered/,
  ],
  [
    "a replacement that multiplies",
    `${doubling("'xxxxxxxx'", "ns.x.replace('x', ns.x)")}`,
    /cannot be rendered|larger than|longer than 1 s/,
  ],
  [
    "a wide indentation",
    "{{ messages | tojson(indent=1000000000) }}",
    /cannot be rendered|larger than|longer than 1 s/,
  ],
  ["a parser that backtracks", `${"{%".repeat(20_000)}`, /expected a Jinja template|longer than/],
  ["white space that stalls the lexer", " \n".repeat(30_000), /fewer than 1000 white-space/],
  ["deep brackets", `{{ ${"[".repeat(30_000)} }}`, /expected a Jinja template/],
  ["too long a template", "x".repeat(100_000), /at most 65536 characters/],
];

let before = 0;
beforeEach(() => {
  before = process.memoryUsage().rss;
});
afterEach(() => {
  expect(process.memoryUsage().rss - before).toBeLessThan(600 * 1024 * 1024);
});

test.each(hostile)("%s", (_name, template, message) => {
  const start = performance.now();
  expect(() => compilePrompt(taskOf({ chat: true }), { chatTemplate: template + chatMl })).toThrow(message);
  expect(performance.now() - start).toBeLessThan(2000);
});

test("a template that turns hostile later is stopped then, and the next row is done", () => {
  const bomb = hostile[1]![1];
  const late = `{% if messages | length > 2 %}${bomb}{% endif %}${chatMl}`;
  const prompt = compilePrompt(taskOf({ chat: true }), { chatTemplate: late });
  const start = performance.now();
  expect(() => prompt.render(rowOf({ text: "a" }), [rowOf({ text: "b" })])).toThrow(
    /\/rows\.jsonl:\d+: the chat template of the model takes longer than 1 s/,
  );
  expect(performance.now() - start).toBeLessThan(2000);
  expect(() => promptOf(prompt, rowOf({ text: "a" }), [])).not.toThrow();
  expect(prompt.render(rowOf({ text: "a" }), []).pieces).toHaveLength(3);
});

test("running out of time is the template's fault, not a row's", () => {
  const prompt = compilePrompt(taskOf({ template: `{% if text %}${hostile[1]![1]}{% endif %}` }), {
    chatTemplate: null,
  });
  expect(() => promptOf(prompt, rowOf({ text: "a" }), [])).toThrow(/\/rows\.jsonl:\d+: .* takes longer than 1 s/);
});

test("work that was kept waiting is begun again, work that works too long is not", () => {
  const sleeping = new Int32Array(new SharedArrayBuffer(4));
  let begun = 0;
  const waiting = () => (++begun === 1 ? Atomics.wait(sleeping, 0, 0, 60_000) : "done");
  expect(withinTime("it", waiting, 200)).toBe("done");
  expect(() => withinTime("it", () => Atomics.wait(sleeping, 0, 0, 60_000), 20)).toThrow("it takes longer than 0.02 s");
  begun = 0;
  const busy = () => {
    begun++;
    for (;;);
  };
  expect(() => withinTime("it", busy, 500)).toThrow("it takes longer than 0.5 s");
  expect(begun).toBe(1);
});

test("a template cannot reach what JavaScript has", () => {
  const reaching =
    "{{ messages.constructor }}{{ messages.__proto__ }}{{ (messages[0].content).constructor }}{{ process }}{{ globalThis }}";
  const prompt = compilePrompt(taskOf({ chat: true }), { chatTemplate: reaching + chatMl });
  expect(prompt.render(rowOf({ text: "a" }), []).pieces[0]).toEqual({ text: "<|im_start|>user\n", control: true });
});
