// JSON Schema to grammar: answers drawn at random under the grammar parse and are valid against the schema, and what it cannot hold to is
// refused by name.
import { rmSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type JsonSchema, jsonSchemaToGrammar } from "../../src/decode/index.js";
import { type NativeDecoder, type NativeModel, type NativeTokenizer, native } from "../../src/support/native.js";
import { decodeAll, requestOf } from "../support/decoding.js";
import { writeTextToy } from "../support/text_toy.js";

let file = "";
let model: NativeModel;
let tokenizer: NativeTokenizer;
let decoder: NativeDecoder;
beforeAll(async () => {
  file = writeTextToy();
  model = await native().openModel(file, { threads: 2, variant: null });
  tokenizer = await native().openTokenizer(file);
  decoder = await model.createDecoder(null, tokenizer, { memory: 2 ** 26, sequences: 64, stepTokens: 512 });
});
afterAll(async () => {
  await decoder.close();
  await Promise.all([model.close(), tokenizer.close()]);
  rmSync(path.dirname(file), { recursive: true, force: true });
});

/** Complete answers of a model that knows nothing, under the schema's grammar. */
async function drawn(schema: JsonSchema, count = 60): Promise<string[]> {
  const grammar = jsonSchemaToGrammar(schema);
  const requests = Array.from({ length: count }, (_, seed) =>
    requestOf([seed % 90, 34], { maxTokens: 240, grammar, temperature: 1, topK: 200, seed }),
  );
  const answers = await decodeAll(decoder, requests);
  // The toy's bytes need not be UTF-8, and what is none has no length in characters.
  return answers.filter(({ ended, text }) => ended === "end" && !text.includes("\ufffd")).map(({ text }) => text);
}

const isInteger = (value: unknown) => Number.isInteger(value);
const isText = (value: unknown) => typeof value === "string";
const nested = {
  type: "object",
  properties: { name: { type: "string", maxLength: 3 }, next: { $ref: "#" } },
  required: ["name"],
  additionalProperties: false,
};

/** A schema, and what is true of each of its values, in code of its own. */
const schemas: [string, JsonSchema, (value: never) => boolean, number][] = [
  ["integer", { type: "integer" }, isInteger, 3],
  ["number", { type: "number" }, (value) => Number.isFinite(value), 3],
  ["number or null", { type: ["number", "null"] }, (value) => value === null || Number.isFinite(value), 3],
  ["boolean", { type: "boolean" }, (value) => typeof value === "boolean", 2],
  [
    "short text",
    { type: "string", minLength: 2, maxLength: 4 },
    (value: string) => [...value].length >= 2 && [...value].length <= 4,
    3,
  ],
  [
    "enum",
    { enum: ["drupe", 'a "quoted" \\ one', 7, null, { a: [1] }] },
    (value) =>
      ["drupe", 'a "quoted" \\ one', 7, null, '{"a":[1]}'].includes(
        typeof value === "object" && value !== null ? JSON.stringify(value) : value,
      ),
    4,
  ],
  ["const", { const: true }, (value) => value === true, 1],
  [
    "anyOf",
    { anyOf: [{ type: "integer" }, { type: "string", maxLength: 2 }] },
    (value) => isInteger(value) || isText(value),
    4,
  ],
  [
    "date",
    { type: "string", format: "date" },
    (value: string) => !Number.isNaN(Date.parse(value)) && new Date(value).toISOString().startsWith(value),
    5,
  ],
  ["date-time", { type: "string", format: "date-time" }, (value: string) => !Number.isNaN(Date.parse(value)), 5],
  [
    "list of one to three",
    { type: "array", items: { type: "integer" }, minItems: 1, maxItems: 3 },
    (value: unknown[]) => value.length >= 1 && value.length <= 3 && value.every(isInteger),
    3,
  ],
  [
    "list of at most one",
    { type: "array", items: { const: 1 }, maxItems: 1 },
    (value: unknown[]) => value.length <= 1,
    2,
  ],
  ["empty list", { type: "array", maxItems: 0 }, (value: unknown[]) => value.length === 0, 1],
  [
    "tuple",
    { type: "array", prefixItems: [{ type: "boolean" }, { type: "null" }] },
    (value: unknown[]) => value.length === 2 && typeof value[0] === "boolean" && value[1] === null,
    1,
  ],
  [
    "tuple and more",
    { type: "array", prefixItems: [{ const: "a" }], items: { type: "integer" }, minItems: 2, maxItems: 3 },
    (value: unknown[]) => value[0] === "a" && value.length >= 2 && value.length <= 3 && value.slice(1).every(isInteger),
    2,
  ],
  [
    "object",
    {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "boolean" }, c: { type: "null" } },
      required: ["b"],
    },
    (value: Record<string, unknown>) =>
      typeof value.b === "boolean" &&
      Object.keys(value).every((key) => "abc".includes(key)) &&
      (!("a" in value) || isInteger(value.a)),
    3,
  ],
  [
    "object of nothing needed",
    { properties: { x: { const: 1 }, y: { const: 2 } } },
    (value: Record<string, unknown>) => Object.entries(value).every(([key, one]) => one === (key === "x" ? 1 : 2)),
    3,
  ],
  [
    "needed, but not described",
    { type: "object", required: ["k"], additionalProperties: { type: "integer" } },
    (value: Record<string, unknown>) => isInteger(value.k),
    3,
  ],
  [
    "map",
    { type: "object", additionalProperties: { type: "boolean" } },
    (value: object) => Object.values(value).every((one) => typeof one === "boolean"),
    2,
  ],
  [
    "empty object",
    { type: "object", additionalProperties: false },
    (value: object) => Object.keys(value).length === 0,
    1,
  ],
  [
    "itself",
    nested,
    (value: { name: unknown; next?: { name: unknown } }) =>
      isText(value.name) && (!value.next || isText(value.next.name)),
    3,
  ],
  [
    "definitions",
    { $ref: "#/$defs/two~1words", $defs: { "two/words": { enum: ["x y", "z"] } } },
    (value) => ["x y", "z"].includes(value),
    2,
  ],
  ["anything", true, () => true, 3],
];

describe("answers under the grammar of", () => {
  it.each(schemas)("%s are valid", async (_name, schema, valid, kinds) => {
    const texts = await drawn(schema);
    for (const text of texts) expect({ text, valid: valid(JSON.parse(text) as never) }).toEqual({ text, valid: true });
    expect(new Set(texts).size).toBeGreaterThanOrEqual(kinds);
  });
});

describe("the grammar lets through", () => {
  it("white space between tokens, as people write it", async () => {
    const schema = { type: "object", properties: { a: { const: 1 }, b: { const: 2 } }, required: ["a", "b"] };
    const texts = await drawn(schema, 150);
    expect(texts.some((text) => text.includes("\n"))).toBe(true);
    expect(texts.some((text) => /": [12]/.test(text))).toBe(true);
  });
});

describe("a schema without an end", () => {
  type Open = Record<string, unknown>;
  const cyclic: Open = { type: "object", properties: {} };
  cyclic.properties = { again: cyclic };
  const choice: Open = {};
  choice.anyOf = [{ type: "null" }, choice];
  const value: unknown[] = [];
  value.push(value);
  let deep: Open = { type: "string" };
  for (let i = 0; i < 20_000; i++) deep = { type: "array", items: deep };

  it.each<[string, Open, RegExp]>([
    ["that holds itself", cyclic, /^expected at most 200 levels for schema, .* at #\/properties\/again\/.*…; .*\$ref$/],
    ["among its choices", choice, /levels for schema, received more at #\/anyOf\/1\//],
    ["that is very deep", deep, /levels for schema, received more at #\/items\/items/],
    ["in its const", { const: value }, /^expected a JSON value for #, received/],
    ["that refers to itself alone", { $ref: "#" }, /refers to nothing but itself at #\/\$ref$/],
    ["in circles", { anyOf: [{ type: "null" }, { $ref: "#/$defs/a" }], $defs: { a: { $ref: "#" } } }, /but itself at/],
    [
      "found behind what is known",
      {
        $ref: "#/$defs/b",
        $defs: { b: { anyOf: [{ items: { $ref: "#/$defs/c" } }, { $ref: "#/$defs/c" }] }, c: { $ref: "#/$defs/b" } },
      },
      /but itself at/,
    ],
  ])("is refused: one %s", (_name, schema, message) => {
    try {
      jsonSchemaToGrammar(schema);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "usage", message: expect.stringMatching(message) });
    }
  });

  it("may share its parts, and be a hundred levels deep", () => {
    const part = { type: "array", items: { $ref: "#/$defs/part" } };
    expect(jsonSchemaToGrammar({ type: "object", properties: { a: part, b: part }, $defs: { part } })).toContain(
      "root",
    );
    let some: Open = { type: "string" };
    for (let i = 0; i < 100; i++) some = { type: "array", items: some };
    expect(jsonSchemaToGrammar(some)).toContain("root");
  });
});

describe("refused by name is", () => {
  it.each<[unknown, string]>([
    [{ type: "string", pattern: "a+" }, "the schema has pattern at #, which is not supported"],
    [
      { properties: { n: { type: "integer", minimum: 3 } } },
      "the schema has minimum at #/properties/n, which is not supported",
    ],
    [{ typ: "string" }, "the schema has typ at #, which is not supported; did you mean type?"],
    [{ allOf: [true] }, "the schema has allOf at #, which is not supported"],
    [{ anyOf: [true], type: "string" }, "the schema has type beside anyOf at #, which is not supported"],
    [{ $ref: "other.json" }, 'expected # or #/$defs/NAME for #/$ref, received "other.json"'],
    [{ $ref: "#/$defs/a" }, 'expected a name that the schema defines for #/$ref, received "#/$defs/a"'],
    [{ type: "text" }, 'for #/type, received "text"'],
    [{ type: "string", format: "email" }, 'expected one of date, time, date-time for #/format, received "email"'],
    [{ type: "string", maxLength: 5000 }, "expected a whole number from 0 to 2000 for #/maxLength, received 5000"],
    [{ type: "array", minItems: 3, maxItems: 2 }, "expected a whole number from 3 to 2000 for #/maxItems, received 2"],
    [{ type: "array", prefixItems: [true], minItems: 2 }, "expected items, or at most 1 for #/minItems, received 2"],
    [{ type: "string", enum: ["a", 1] }, "expected a value of type string for #, received 1"],
    [{ enum: [] }, "expected a list that is not empty for #/enum, received []"],
    [{ minLength: 2 }, "expected a type for #/type, received undefined"],
    [{ type: "array", items: false, minItems: 1 }, "for #/minItems, received 1"],
    [false, "expected an object or true for #, received false"],
    ["{}", 'expected an object or true for #, received "{}"'],
  ])("%j", (schema, message) => {
    expect(() => jsonSchemaToGrammar(schema as JsonSchema)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(message) }),
    );
  });
});
