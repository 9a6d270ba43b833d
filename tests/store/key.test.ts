// Ten thousand seeded changes to requests: what can change an answer changes the key, what cannot leaves it.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  canonical,
  type LabelsRequest,
  type LaidRequest,
  type Maker,
  type Request,
  requestKey,
  requestKeys,
  type TextRequest,
} from "../../src/store/key.js";
import { maker, textRequest } from "./make.js";

const runs = 10_000;
const hex = (made: Maker, request: Request) => Buffer.from(requestKey(made, request)).toString("hex");

const tokens = fc
  .array(fc.integer({ min: 0, max: 49_151 }), { minLength: 1, maxLength: 20 })
  .map((ids) => Int32Array.from(ids));
const text = fc.string({ unit: "binary", maxLength: 8 });
const hash = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 64, maxLength: 64 });
const drawn = fc.record({
  temperature: fc.double({ min: 0.001, max: 100, noNaN: true }),
  topK: fc.nat(100),
  topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
  minP: fc.double({ min: 0, max: 1, noNaN: true }),
  seed: fc.nat(),
});
const fields = {
  prompt: tokens,
  maxTokens: fc.integer({ min: 1, max: 4096 }),
  stop: fc.uniqueArray(text, { maxLength: 3 }).map((stops) => stops.sort()),
  grammar: fc.option(text),
  logProbabilities: fc.option(fc.nat(20)),
};
const penalty = fc.record({
  repetitionPenalty: fc.double({ min: 1.01, max: 3, noNaN: true }),
  repetitionWindow: fc.integer({ min: 1, max: 256 }),
});
const makers = fc.record({
  weights: hash,
  adapter: fc.option(
    fc.record({
      sha256: hash,
      scale: fc.double({ min: 0, max: 4, noNaN: true }),
    }),
  ),
  engine: text,
  precision: fc.constantFrom("f32", "bf16", "mixed", "int16", "int8"),
  variant: fc.constantFrom("avx512", "avx2", "portable"),
});
const requests = fc
  .record({ ...fields, drawn, penalty })
  .map(({ drawn, penalty, ...rest }) => textRequest({ ...rest, ...drawn, ...penalty }));
/** Another value of one field that decides. */
const changes = fc.oneof(
  ...[
    fields,
    { temperature: fc.double({ min: 0.001, max: 100, noNaN: true }), seed: fc.nat(), topK: fc.nat(100) },
  ].flatMap((group) =>
    Object.entries(group).map(([name, values]) =>
      (values as fc.Arbitrary<unknown>).map((value) => ({ [name]: value })),
    ),
  ),
  penalty,
);
const same = (a: unknown, b: unknown) => canonical(a).equals(canonical(b));

test("whatever differs that can change an answer gives another key", () => {
  const property = fc.property(makers, requests, changes, makers, (by, request, change, other) => {
    const made = { ...by, model: "a" };
    const changed = { ...request, ...change };
    if (!same(request, changed)) expect(hex(made, changed)).not.toBe(hex(made, request));
    for (const [name, value] of Object.entries(other)) {
      const remade = { ...made, [name]: value };
      if (!same(made, remade)) expect(hex(remade, request)).not.toBe(hex(made, request));
    }
  });
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("what cannot change an answer leaves the key", () => {
  const property = fc.property(
    makers,
    requests,
    drawn,
    penalty,
    text,
    (by, request, otherDraw, { repetitionWindow }, name) => {
      const made = { ...by, model: "a" };
      const greedy = { ...request, temperature: 0 };
      const plain = { ...request, repetitionPenalty: 1 };
      const noWindow = { ...request, repetitionWindow: 0 };
      const key = hex(made, request);
      expect(hex({ ...made, model: name }, request)).toBe(key);
      expect(hex(made, { ...request, stop: [...request.stop, ...request.stop].reverse() })).toBe(key);
      expect(hex(made, { ...request, prompt: request.prompt.slice() })).toBe(key);
      expect(hex(made, { ...greedy, ...otherDraw, temperature: 0 })).toBe(hex(made, greedy));
      expect(hex(made, { ...plain, repetitionWindow })).toBe(hex(made, plain));
      expect(hex(made, { ...noWindow, repetitionPenalty: 1 })).toBe(hex(made, noWindow));
    },
  );
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("a request that is laid out only has a key by the same fields, and by its text in place of its tokens", () => {
  const laidKey = (made: Maker, request: LaidRequest) => Buffer.from(requestKeys(made)(request)).toString("hex");
  const laidOut = ({ prompt: _, ...rest }: TextRequest, laid: string): LaidRequest => ({ ...rest, laid });
  const property = fc.property(makers, requests, changes, text, text, (by, request, change, laid, other) => {
    const made = { ...by, model: "a" };
    const key = laidKey(made, laidOut(request, laid));
    expect(key).not.toBe(hex(made, request));
    if (laid !== other) expect(laidKey(made, laidOut(request, other))).not.toBe(key);
    expect(laidKey({ ...made, engine: `${made.engine}, tokens by another` }, laidOut(request, laid))).not.toBe(key);
    const { prompt, ...rest } = { prompt: null, ...change };
    if (prompt === null && !same({ ...request, ...rest }, request))
      expect(laidKey(made, laidOut({ ...request, ...rest }, laid))).not.toBe(key);
    expect(laidKey({ ...made, model: other }, laidOut({ ...request, stop: [...request.stop].reverse() }, laid))).toBe(
      key,
    );
  });
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("labels decide by their texts, their tokens and their order", () => {
  const label = fc.record({ text, tokens });
  const property = fc.property(
    tokens,
    fc.array(label, { minLength: 2, maxLength: 4 }),
    label,
    (prompt, labels, other) => {
      const key = hex(maker, { kind: "labels", prompt, labels });
      const turned = [...labels].reverse();
      if (!same(turned, labels)) expect(hex(maker, { kind: "labels", prompt, labels: turned })).not.toBe(key);
      expect(hex(maker, { kind: "labels", prompt, labels: [...labels, other] })).not.toBe(key);
      if (other.text !== labels[0]!.text)
        expect(
          hex(maker, { kind: "labels", prompt, labels: [{ ...labels[0]!, text: other.text }, ...labels.slice(1)] }),
        ).not.toBe(key);
    },
  );
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("what is taken off, stood for and made of the answer decides as well", () => {
  const decisive = fc.record({
    prior: fc.option(fc.array(fc.double({ min: 0.001, max: 1, noNaN: true }), { minLength: 2, maxLength: 2 })),
    values: fc.option(fc.array(fc.double({ min: -9, max: 9, noNaN: true }), { minLength: 2, maxLength: 2 })),
    temperature: fc.option(fc.double({ min: 0.1, max: 10, noNaN: true })),
    abstain: fc.option(
      fc.record({ precision: fc.constant(0.9), threshold: fc.double({ min: 0, max: 1, noNaN: true }) }),
    ),
  });
  const fields = ["prior", "values", "temperature", "abstain"] as const;
  const given = ({ temperature, abstain, ...rest }: Record<(typeof fields)[number], unknown>) => {
    const calibration = temperature === null ? null : { temperature, abstain };
    const all = Object.entries({ ...rest, calibration });
    return Object.fromEntries(all.filter(([, value]) => value !== null)) as Partial<LabelsRequest>;
  };
  // Often one field alone: one that only changes with others is not seen to decide.
  const property = fc.property(tokens, decisive, decisive, fc.subarray([...fields]), (prompt, one, drawn, changed) => {
    const other = { ...one, ...Object.fromEntries(changed.map((field) => [field, drawn[field]])) };
    const labels = ["yes", "no"].map((text, at) => ({ text, tokens: Int32Array.of(at) }));
    const [a, b] = [one, other].map((more) => hex(maker, { kind: "labels", prompt, labels, ...given(more) }));
    expect(a === b).toBe(same(given(one), given(other)));
    const laid = { kind: "labels", laid: "a", labels } as const;
    const [c, d] = [one, other].map((more) =>
      Buffer.from(requestKeys(maker)({ ...laid, ...given(more) } as LaidRequest)).toString("hex"),
    );
    expect(c === d).toBe(same(given(one), given(other)));
  });
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("an embedding's key is its tokens', its pooling's and no other kind's", () => {
  const embedding = (prompt: Int32Array, pooling: "mean" | "last" = "mean") =>
    ({ kind: "embedding", prompt, pooling, normalisation: "l2" }) as const;
  const property = fc.property(tokens, tokens, (prompt, other) => {
    const key = hex(maker, embedding(prompt));
    if (!same(prompt, other)) expect(hex(maker, embedding(other))).not.toBe(key);
    expect(hex(maker, embedding(prompt.slice()))).toBe(key);
    expect(hex(maker, embedding(prompt, "last"))).not.toBe(key);
    expect(hex(maker, textRequest({ prompt }))).not.toBe(key);
  });
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
});

test("the encoding runs nothing into anything", () => {
  const values = fc.anything({
    values: [fc.string({ unit: "binary" }), fc.double({ noNaN: true }), fc.boolean(), tokens],
    maxDepth: 3,
  });
  const plain = values.filter((value) => value !== undefined);
  const property = fc.property(plain, plain, (a, b) => {
    const alike = fc.stringify(a) === fc.stringify(b);
    if (!alike && same(a, b)) expect(JSON.stringify(a)).toBe(JSON.stringify(b));
    expect(same(a, structuredClone(a))).toBe(true);
  });
  fc.assert(property, { numRuns: runs / 5, seed: 8 });
  expect(canonical(["ab", "c"])).not.toEqual(canonical(["a", "bc"]));
  expect(canonical([["a"], "b"])).not.toEqual(canonical([["a", "b"]]));
  expect(canonical("\ud800")).not.toEqual(canonical("\ufffd"));
  expect(canonical(1)).not.toEqual(canonical("1"));
  expect(canonical({ b: 1, a: undefined, c: 0 })).toEqual(canonical({ c: -0, b: 1 }));
});

test("a key is for ever: the stores of today are read tomorrow", () => {
  const request = textRequest({ stop: ["\n"], temperature: 0.5, seed: 7, grammar: "root ::= [0-9]" });
  expect(hex(maker, request)).toMatchInlineSnapshot(
    `"7fa51c8fdfa6fe72a31dbebdd75611e1891a2c669535580781e4da04cbd63311"`,
  );
});
