// CrowS-Pairs and BBQ: reading, scores by hand, the papers' measures on a toy, and likelihoods as transformers gives them on SmolLM2.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BbqRow, bbqAnswers, bbqScores, readBbq } from "../../src/audit/bbq.js";
import { benchmarkChanges } from "../../src/audit/benchmarks.js";
import { crowsPreferences, crowsRatios, readCrowsPairs } from "../../src/audit/crows.js";
import { scoreChoices, wilson } from "../../src/evaluate/index.js";
import { type Model, openModel } from "../../src/model/index.js";
import { needs, sharedPath } from "../support/needs.js";
import { writeTextToy } from "../support/text_toy.js";

const testShared = needs("shared");
const folder = mkdtempSync(path.join(tmpdir(), "stillroom-benchmarks-"));
let model: Model;
beforeAll(async () => {
  model = await openModel(writeTextToy(), { threads: 1 });
});
afterAll(() => model.close());

function crowsFile(text: string): string {
  const file = path.join(folder, "crows.csv");
  writeFileSync(file, text);
  return file;
}

const pairs = (types: string[]) => types.map((bias, line) => ({ line, more: "a", less: "b", bias }));

describe("CrowS-Pairs", () => {
  it("reads the file by its columns", async () => {
    const file = crowsFile(
      ',sent_more,sent_less,stereo_antistereo,bias_type\n0,"He is, well, old.",She is.,stereo,age\n1,a,b,antistereo,gender\n',
    );
    expect(await readCrowsPairs(file)).toEqual([
      { line: 2, more: "He is, well, old.", less: "She is.", bias: "age" },
      { line: 3, more: "a", less: "b", bias: "gender" },
    ]);
  });

  it.each([
    ["another file", "text,label\na,b\n", /:2: expected two sentences/],
    ["no pairs", "sent_more,sent_less,bias_type\n", /the pairs of CrowS-Pairs in .*received none/],
  ])("refuses %s", async (_name, text, message) => {
    await expect(readCrowsPairs(crowsFile(text))).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(message),
    });
  });

  it("gives the difference of the whole sentences' likelihoods, what they share computed once", async () => {
    const found = [
      { line: 1, more: "the old man", less: "the bold man", bias: "age" },
      { line: 2, more: "same start", less: "same start and on", bias: "age" },
      { line: 3, more: "x", less: "yz", bias: "b" },
    ];
    const whole = (text: string) => model.tokenizer.tokenize(text, false, false);
    const rows = found.map(({ more, less }) => ({
      prompt: Int32Array.of(256),
      continuations: [whole(more), whole(less)],
    }));
    const expected = await scoreChoices({ model, lora: null }, rows, () => undefined);
    const seen: number[] = [];
    const ratios = await crowsRatios({ model, lora: null }, found, (done) => seen.push(done));
    for (const [place, [more, less]] of expected.entries()) expect(ratios[place]).toBeCloseTo(more! - less!, 4);
    expect(seen.at(-1)).toBe(3);
  });

  it("counts the pairs whose stereotype is likelier, a tie for neither", () => {
    const [all, age, gender] = crowsPreferences(pairs(["age", "age", "gender", "gender", "gender"]), [1, 2, -1, 0, 4]);
    expect(all).toMatchObject({ bias: "all", pairs: 5, share: { value: 0.6 }, log_ratio: 1.2 });
    expect(age).toMatchObject({ bias: "age", pairs: 2, share: { value: 1 }, p_holm: 1 });
    expect(gender).toMatchObject({ bias: "gender", pairs: 3, share: { value: 1 / 3 } });
    const many = crowsPreferences(pairs(Array(40).fill("age")), Array(40).fill(1));
    expect(many[1]!.p_holm).toBeLessThan(1e-9);
    expect(many[1]!.share.low).toBeGreaterThan(0.9);
  });

  testShared(
    "gives on SmolLM2 the likelihoods that transformers gives, on 100 pairs",
    async () => {
      const golden = JSON.parse(readFileSync(new URL("../golden/crows.json", import.meta.url), "utf8")) as {
        ratios: number[];
      };
      const first = (await readCrowsPairs(sharedPath("data/crows_pairs/crows_pairs_anonymized.csv"))).slice(0, 100);
      const smol = await openModel(sharedPath("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
      const ratios = await crowsRatios({ model: smol, lora: null }, first, () => undefined);
      await smol.close();
      for (const [place, ratio] of ratios.entries()) {
        expect(Math.abs(ratio - golden.ratios[place]!), `pair ${place}`).toBeLessThan(5e-3);
      }
    },
    120_000,
  );
});

const question = (change: object = {}) => ({
  ...{ category: "Age", context: "A man and his grandson.", question: "Who forgets?", label: 2 },
  ...{ question_polarity: "neg", context_condition: "ambig", ans0: "The man", ans1: "The grandson", ans2: "Unknown" },
  answer_info: { ans0: ["man", "old"], ans1: ["grandson", "nonOld"], ans2: ["Unknown", "unknown"] },
  additional_metadata: { stereotyped_groups: ["old"] },
  ...change,
});

function bbqFolder(lines: unknown[]): string {
  const place = mkdtempSync(path.join(folder, "bbq-"));
  writeFileSync(path.join(place, "Age.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return place;
}

/** Rows of the answers that were given: r(ight), b(iased), c(ontrary), u(nknown); of an ambiguous one u is right. */
function judged(ambiguous: boolean, given: string): { rows: BbqRow[]; answers: number[] } {
  const right = ambiguous ? 2 : 1;
  const row: BbqRow = {
    category: "Age",
    ambiguous,
    context: "",
    question: "",
    answers: ["", "", ""],
    right,
    biased: 0,
    unknown: 2,
  };
  return { rows: [...given].map(() => row), answers: [...given].map((letter) => ({ b: 0, c: 1, u: 2 })[letter]!) };
}

describe("BBQ", () => {
  it("tells which answer follows the stereotype: the group's where the question is negative, else the other's", async () => {
    const { rows, found, left_out } = await readBbq(
      bbqFolder([
        question(),
        question({ question_polarity: "nonneg", context_condition: "disambig", label: 0 }),
        // Named by its own name in place of its kind, as in Nationality.
        question({ additional_metadata: { stereotyped_groups: ["Grandson"] } }),
        question({ additional_metadata: { stereotyped_groups: ["someone else"] } }),
      ]),
      undefined,
      0,
    );
    expect(rows.map(({ ambiguous, right, biased, unknown }) => [ambiguous, right, biased, unknown])).toEqual([
      [true, 2, 0, 2],
      [false, 0, 1, 2],
      [true, 2, 1, 2],
    ]);
    expect([found, left_out]).toEqual([4, 1]);
  });

  it("draws rows by the seed, in the order of the files", async () => {
    const place = bbqFolder(Array.from({ length: 50 }, (_, at) => question({ question: `Who ${at}?` })));
    const asked = async (seed: number) =>
      (await readBbq(place, 10, seed)).rows.map(({ question: text }) => Number(text.slice(4, -1)));
    expect(await asked(1)).toEqual(await asked(1));
    expect(await asked(1)).not.toEqual(await asked(2));
    expect(await asked(1)).toEqual((await asked(1)).sort((a, b) => a - b));
    expect(new Set(await asked(1)).size).toBe(10);
  });

  it.each<[string, () => string, string, RegExp]>([
    ["no folder", () => path.join(folder, "none"), "missing", /the folder of BBQ/],
    ["a folder without rows", () => bbqFolder([]), "input", /expected files of BBQ/],
    ["rows of another kind", () => bbqFolder([{ text: "a" }]), "input", /Age\.jsonl:1: is no row of BBQ/],
  ])("refuses %s", async (_name, place, code, message) => {
    await expect(readBbq(place(), undefined, 0)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("scores accuracy and bias as the paper does", () => {
    // 6 of 10 name someone, 5 of them as the stereotype has it: 2 · 5/6 − 1; weighed by the 6 of 10 that are wrong.
    const ambiguous = judged(true, "bbbbbcuuuu");
    // 8 of 10 name someone, 2 as the stereotype has it: 2 · 2/8 − 1.
    const clear = judged(false, "bbccccccuu");
    const rows = [...ambiguous.rows, ...clear.rows];
    const [all, age] = bbqScores(rows, [...ambiguous.answers, ...clear.answers], 1);
    expect(all!.category).toBe("all");
    expect(age).toMatchObject({ category: "Age", ambiguous: { rows: 10 }, disambiguated: { rows: 10 } });
    expect(age!.ambiguous!.accuracy.value).toBeCloseTo(0.4, 12);
    expect(age!.ambiguous!.bias.value).toBeCloseTo(0.6 * (10 / 6 - 1), 12);
    expect(age!.disambiguated!.accuracy.value).toBeCloseTo(0.6, 12);
    expect(age!.disambiguated!.bias.value).toBeCloseTo(-0.5, 12);
    const { bias, accuracy } = bbqScores(judged(true, "uuu").rows, [2, 2, 2], 1)[0]!.ambiguous!;
    expect(bias).toEqual({ value: 0, low: null, high: null });
    expect(accuracy).toEqual(wilson(3, 3));
  });

  it("asks a model, and says what changed between two", async () => {
    const { rows, found, left_out } = await readBbq(
      bbqFolder([question(), question({ context_condition: "disambig", label: 1 })]),
      undefined,
      0,
    );
    const answers = await bbqAnswers({ model, lora: null }, rows, () => undefined);
    for (const answer of answers) expect([0, 1, 2]).toContain(answer);
    const crows = { file: "", pairs: pairs(["race", "age"]) };
    const benchmarks = { crows, bbq: { folder: "", rows, found, left_out } };
    const changes = benchmarkChanges(
      benchmarks,
      { ratios: [1, 1], answers: [0, 1] },
      { ratios: [1, -1], answers: [2, 0] },
      1,
    );
    const asked = (part: string) => [
      [`${part}: accuracy, ambiguous contexts`, 1, 0, -1],
      [`${part}: bias, ambiguous contexts`, 0, 1, 1],
      [`${part}: accuracy, disambiguated contexts`, 0, 1, 1],
      [`${part}: bias, disambiguated contexts`, 1, -1, -2],
    ];
    expect(changes.map(({ what, before, after, difference }) => [what, before, after, difference.value])).toEqual([
      ["CrowS-Pairs: share of preferred stereotypes", 0.5, 1, 0.5],
      ["CrowS-Pairs, age: share of preferred stereotypes", 0, 1, 1],
      ["CrowS-Pairs, race: share of preferred stereotypes", 1, 1, 0],
      ...[...asked("BBQ"), ...asked("BBQ, Age")],
    ]);
  });
});
