// Plain prompts: what stands where, and how answers follow.
import { expect, test } from "vitest";
import { chooseExamples, compilePrompt, promptOf } from "../../src/prompt/index.js";
import { rowOf, taskOf } from "./rows.js";

const noChat = { chatTemplate: null };

test("instruction, examples with their answers, then the row: all of it text that is no control", () => {
  const prompt = compilePrompt(taskOf({ instruction: "Decide." }), noChat);
  const row = rowOf({ text: "good" }, "yes");
  const examples = [rowOf({ text: "bad" }, "no"), rowOf({ text: "fine" }, " yes ")];
  expect(prompt.render(row, examples)).toEqual({
    pieces: [
      { text: "Decide.\n\nText: bad\nLabel: no\n\nText: fine\nLabel: yes\n\nText: good\nLabel:", control: false },
    ],
    answer: " yes",
  });
  expect(prompt.render(row, [])).toEqual({
    pieces: [{ text: "Decide.\n\nText: good\nLabel:", control: false }],
    answer: " yes",
  });
  expect(compilePrompt(taskOf({}), noChat).render(row, []).pieces[0]?.text).toBe("Text: good\nLabel:");
});

test("a template that ends in white space of its own needs no space before the answer", () => {
  const prompt = compilePrompt(taskOf({ template: "{{ text }} => " }), noChat);
  expect(prompt.render(rowOf({ text: "a" }), [])).toEqual({
    pieces: [{ text: "a => ", control: false }],
    answer: "yes",
  });
});

test("white space at the end of a value is left out, so that the answer follows alike after every row", () => {
  const prompt = compilePrompt(taskOf({ template: "{{ text }}" }), noChat);
  expect(prompt.render(rowOf({ text: "a \n" }), [])).toEqual({
    pieces: [{ text: "a", control: false }],
    answer: " yes",
  });
});

test("a row is never its own example", () => {
  const prompt = compilePrompt(taskOf({}), noChat);
  const row = rowOf({ text: "good" });
  expect(prompt.render(row, [{ ...row }]).pieces[0]?.text).toBe("Text: good\nLabel:");
});

test("values may be lists and objects; fields of any name are harmless", () => {
  const prompt = compilePrompt(
    taskOf({
      template:
        "{% for c in choices %}{{ loop.index }}. {{ c.text }}\n{% endfor %}{{ __proto__ }}{{ namespace }}{{ range(2) }}",
    }),
    noChat,
  );
  const fields = { choices: [{ text: "a" }, { text: "b" }], namespace: "x", range: "x", true: "x" };
  Object.defineProperty(fields, "__proto__", { value: "p", enumerable: true });
  expect(prompt.render(rowOf(fields), []).pieces[0]?.text).toMatch(/^1\. a\n2\. b\np.*\[0, 1\]$/s);
});

test("a row whose values do not suit the template is named", () => {
  const prompt = compilePrompt(taskOf({ template: "{{ text + other }}" }), noChat);
  expect(() => prompt.render({ ...rowOf({ text: "a" }), line: 7 }, [])).toThrow(
    /\/rows\.jsonl:7: the template of the task test cannot be rendered: /,
  );
});

test("a row that does not suit the template costs the row; an example that does not costs the work", () => {
  const prompt = compilePrompt(taskOf({ template: "{{ text | trim }}:" }), noChat);
  const [number, text] = [rowOf({ text: 5 }), rowOf({ text: " a " })];
  expect(promptOf(prompt, number, [text])).toEqual({
    file: "/rows.jsonl",
    line: number.line,
    reason: expect.stringMatching(/^the template of the task test cannot be rendered: .*trim$/),
  });
  expect(promptOf(prompt, text, [])).toEqual(prompt.render(text, []));
  expect(() => promptOf(prompt, text, [number])).toThrow(`/rows.jsonl:${number.line}: `);
});

test("a million words go through", () => {
  const prompt = compilePrompt(taskOf({}), noChat);
  const text = "word ".repeat(1_000_000);
  const start = performance.now();
  expect(prompt.render(rowOf({ text }), []).pieces[0]?.text.length).toBe(text.length + "Text: \nLabel:".length);
  expect(performance.now() - start).toBeLessThan(2000);
});

test("examples: balanced over the labels, seeded, no more than there are", () => {
  const rows = Array.from({ length: 40 }, (_, i) => rowOf({ text: i }, i < 30 ? "a" : i < 39 ? "b" : "c"));
  const labels = ["a", "b", "c", "never"].map((value) => ({ value }));
  const count = (chosen: typeof rows) => labels.map(({ value }) => chosen.filter((row) => row.value === value).length);
  expect(count(chooseExamples(rows, { shots: 3, seed: 1, labels }))).toEqual([1, 1, 1, 0]);
  expect(count(chooseExamples(rows, { shots: 9, seed: 1, labels }))).toEqual([4, 4, 1, 0]);
  expect(chooseExamples(rows, { shots: 4, seed: 1, labels })).toHaveLength(4);
  expect(chooseExamples(rows, { shots: 9, seed: 1, labels })).toEqual(
    chooseExamples(rows, { shots: 9, seed: 1, labels }),
  );
  expect(chooseExamples(rows, { shots: 9, seed: 1, labels })).not.toEqual(
    chooseExamples(rows, { shots: 9, seed: 2, labels }),
  );
  expect(new Set(chooseExamples(rows, { shots: 12, seed: 1 })).size).toBe(12);
  expect(chooseExamples(rows, { shots: 100, seed: 1 })).toHaveLength(40);
  expect(chooseExamples(rows, { shots: 0, seed: 1 })).toEqual([]);
});

test.each(["", "a", " a\n", "{{ text }}", "\ud800", "<b>&'"])(
  "a plain template gives what the interpreter gives: %j",
  (text) => {
    const render = (template: string) =>
      compilePrompt(taskOf({ template }), noChat).render(rowOf({ text, other: "o" }), []).pieces[0]?.text;
    const [plain, interpreted] = [
      "{{ text }}: {{ other }}{{ text }}\nLabel:",
      "{{ text ~ '' }}: {{ other ~ '' }}{{ text ~ '' }}\nLabel:",
    ];
    expect(render(plain!)).toBe(render(interpreted!));
  },
);

test("a plain template leaves to the interpreter what is no text, what is missing and what is too long", () => {
  const render = (fields: Record<string, unknown>) =>
    compilePrompt(taskOf({ template: "{{ text }}{{ text }}." }), noChat).render(rowOf(fields), []).pieces[0]?.text;
  expect(render({ text: 12.5 })).toBe("12.512.5.");
  expect(render({ text: ["a"] })).toBe('["a"]["a"].');
  expect(render({ other: "a" })).toBe(".");
  expect(render({ text: "x".repeat(2 ** 20) })).toHaveLength(2 ** 21 + 1);
});
