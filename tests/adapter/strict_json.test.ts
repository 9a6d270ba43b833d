// The strict JSON reader against JSON.parse: it reads the same where it reads at all, and refuses what it promises to refuse.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Json, parseStrictJson } from "../../src/adapter/strict_json.js";

/** As JSON.parse would give it. */
function plain(value: Json): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
}

describe("parseStrictJson", () => {
  it("reads what JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(undefined, 1, "\t"), (value, indent) => {
        const text = JSON.stringify(value, null, indent as number | string);
        if (/\\ud[89a-f]/i.test(text)) return; // lone surrogates
        expect(plain(parseStrictJson(text))).toEqual(JSON.parse(text));
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it("reads nothing that JSON.parse refuses, and otherwise the same", () => {
    const pieces = [
      '"a"',
      '"b"',
      ":",
      ",",
      "{",
      "}",
      "[",
      "]",
      "1",
      "0",
      "-",
      ".5",
      "e3",
      "true",
      "null",
      " ",
      '"',
      "\\",
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }), (parts) => {
        const text = parts.join("");
        let ours: Json;
        try {
          ours = parseStrictJson(text);
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError);
          return;
        }
        expect(plain(ours)).toEqual(JSON.parse(text));
      }),
      { seed: 2, numRuns: 5000 },
    );
  });

  it("keeps whole numbers exact", () => {
    expect(parseStrictJson("[9007199254740993, 18446744073709551615, -1, 1.0, -0]")).toEqual([
      9007199254740993n,
      18446744073709551615n,
      -1,
      1,
      -0,
    ]);
  });

  it("holds __proto__ as a key like any other", () => {
    expect(parseStrictJson('{"__proto__":{"x":1}}')).toEqual(new Map([["__proto__", new Map([["x", 1n]])]]));
  });

  it.each([
    ['{"a":1,"a":2}', /a key that was not there before at character 7, received "\\"a\\":2}"/],
    ['{"a":1,"\\u0061":2}', /not there before/],
    ['"\\ud800"', /lone surrogates/],
    ["1e999", /in the range of a float/],
    ["[1,]", /a value at character 3/],
    ['{"a" 1}', /a colon at character 5/],
    ["[1 2]", /a comma or \] at character 3/],
    ['{"a":1 2}', /a comma or \} at character 7/],
    ["{1:2}", /a key in quotes at character 1/],
    ['"a', /a closing quote at character 2, received the end/],
    ['"\u0001"', /without control characters/],
    ["{} {}", /the end at character 3/],
    ["01", /the end at character 1/],
    ["", /a value at character 0, received the end/],
    [`${"[".repeat(128)}${"]".repeat(128)}`, /at most 127 levels/],
  ])("refuses %s", (text, message) => {
    expect(() => parseStrictJson(text)).toThrow(message);
  });

  it("takes time in proportion to its text", () => {
    const start = performance.now();
    const names = Array.from({ length: 200_000 }, (_, index) => `"${index}":${index}`);
    expect((parseStrictJson(`{${names.join(",")}}`) as Map<string, Json>).size).toBe(200_000);
    expect(parseStrictJson("1".repeat(300))).toBeCloseTo(Number("1".repeat(300)));
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
