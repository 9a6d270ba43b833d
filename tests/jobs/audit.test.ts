// audit() on a toy: a planted bias (the label follows a name) is found in rows, groups and swaps, a balanced set is not accused; before and after,
// bounds, and what it refuses.
import { mkdtempSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type AuditResult, audit, teach } from "../../src/jobs/index.js";
import { Random } from "../../src/support/random.js";
import { readTask, type Task } from "../../src/task/index.js";
import { stillroom } from "../command/program.js";
import { writeTextToy } from "../support/text_toy.js";
import { anyMark, named, tunedOn, writeNamesTask } from "./toy-names.js";

let model: string;

/** Rows of a name and a mark; the label follows the name, or the mark. */
async function writeTask(biased: boolean, bounds = ""): Promise<Task> {
  const random = new Random(biased ? 1 : 2);
  const answer = "{ field: label, labels: { no: no, yes: yes } }";
  return writeNamesTask({ name: "loans", kind: "classify", answer, bounds }, (at) => {
    const mark = anyMark(random);
    const row = named(at, mark, random);
    return { ...row, label: (biased ? row.region === "north" : mark === "+") ? "yes" : "no" };
  });
}

const tuned = (task: Task) => tunedOn(task, model, { rank: 8, steps: 60 });

beforeAll(() => {
  model = writeTextToy();
});

describe("a planted bias", () => {
  let task: Task;
  let run: string;
  let found: AuditResult;
  beforeAll(async () => {
    task = await writeTask(true, "  bounds: { demographic_parity: 0.2, flips: 0.5, accuracy: 0.5 }\n");
    run = await tuned(task);
    found = await audit(task, { model, adapter: run, against: model, seed: 5 });
  });

  it("is found in the rows: a gap of their labels, and names tied to them", () => {
    expect(found.data).toMatchObject({
      of: "train",
      splits: [
        { split: "train", rows: 160 },
        { split: "test", rows: 80 },
      ],
    });
    for (const table of found.data.groups.filter(({ attribute }) => ["region", "people"].includes(attribute))) {
      expect(table.gaps).toMatchObject([
        { metric: "base_rate", label: "yes", between: ["north", "south"], difference: { value: 1 } },
      ]);
      expect(table.gaps[0]!.difference.low).toBeGreaterThan(0.9);
      // What no model answered is not right or wrong.
      const none = { selection_rate: null, true_positive_rate: null, false_positive_rate: null };
      const rates = { label: "yes", ...none, calibration: null, expected_to_observed: null };
      expect(table.groups).toMatchObject([
        { group: "north", accuracy: null, labels: [{ ...rates, base_rate: 1 }] },
        { group: "south", accuracy: null, labels: [{ ...rates, base_rate: 0 }] },
      ]);
    }
    const tied = found.data.ties.terms.filter(({ group }) => group !== null);
    expect(new Set(tied.map(({ term }) => term))).toEqual(new Set(["zoe", "zed", "bob", "bea"]));
    for (const { log_odds } of tied) expect(log_odds.low).toBeGreaterThan(0);
  });

  it("is found in the answers, with its interval clear of 0", () => {
    const gap = found.groups
      .find(({ source, attribute }) => source === "column" && attribute === "region")!
      .gaps.find(({ metric }) => metric === "demographic_parity")!;
    expect(gap).toMatchObject({ label: "yes", between: ["north", "south"], smallest: 40 });
    expect(gap.difference.low).toBeGreaterThan(0.5);
    expect(gap.p_holm).toBeLessThan(1e-6);
  });

  it("is found by swapping the names, with examples", () => {
    const swap = found.swaps.find(({ attribute }) => attribute === "people")!;
    expect(swap).toMatchObject({ groups: ["north", "south"], rows: 80 });
    expect(swap.agreement.high).toBeLessThan(0.5);
    expect(swap.shift!.high).toBeLessThan(-0.2);
    expect(swap.p_holm).toBeLessThan(0.01);
    const { before, after } = swap.examples[0]!;
    expect(
      before.replace("Zoe", "Bob").replace("Zed", "Bea") === after ||
        after.replace("Zoe", "Bob").replace("Zed", "Bea") === before,
    ).toBe(true);
    expect(new Set(found.findings.map(({ part }) => part))).toEqual(new Set(["rows", "groups", "swaps"]));
  });

  it("is a change against the model before tuning", () => {
    const { changes } = found.against!;
    const parity = changes.find(({ what }) => what.startsWith("region: demographic_parity of yes, north above south"))!;
    expect(parity.after - parity.before).toBeCloseTo(parity.difference.value, 12);
    expect(parity.difference.low).toBeGreaterThan(0.3);
    expect(changes.find(({ what }) => what === "people: flips, north to south")!.difference.low).toBeGreaterThan(0);
    expect(changes.find(({ part }) => part === "metric")).toMatchObject({ what: "accuracy" });
  });

  it("breaks its bounds, and ends the command with code 1 and the whole result", async () => {
    expect(found.bounds.passed).toBe(false);
    const expected = [
      /^region: demographic_parity of yes between north and south is 1 .* the bound is 0.2$/,
      /^people: demographic/,
      /^people.*flipped/,
    ];
    expect(found.bounds.failures).toHaveLength(3);
    for (const [place, pattern] of expected.entries()) expect(found.bounds.failures[place]).toMatch(pattern);
    const { code, stdout, stderr } = await stillroom([
      "audit",
      task.file,
      "--model",
      model,
      "--adapter",
      run,
      "--json",
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("the bound is 0.2");
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "gate" }, bounds: { passed: false }, rows: 80 });
  });
});

describe("a balanced set", () => {
  it("is not accused, by a model that has learnt it", async () => {
    const task = await writeTask(false, "  bounds: { demographic_parity: 0.2, flips: 0.2 }\n");
    const found = await audit(task, { model, adapter: await tuned(task), swaps: [["Zoe", "Zed"]] });
    expect(found.metrics.accuracy!.value).toBeGreaterThan(0.9);
    // Its probabilities do move with a name, by less than what counts.
    expect(found.findings).toEqual([]);
    expect(found.bounds).toEqual({ passed: true, failures: [], unseen: [] });
    expect(found.against).toBeNull();
    expect(found.swaps.map(({ attribute }) => attribute)).toEqual(["people", "swap"]);
    expect(found.swaps[0]!.agreement.value).toBeGreaterThan(0.9);
  });
});

it("of more than ten labels of which none is favourable, says that no label's rates are compared", async () => {
  const task = await writeTask(false);
  const labels = Object.fromEntries(["no", "yes", ..."abcdefghi"].map((label) => [label, label]));
  const many: Task = { ...task, answer: { field: "label", labels } };
  const found = await audit(many, { model, limit: 20 });
  expect(found.positive).toEqual([]);
  expect(found.limits[0]).toMatch(/^The task has more than ten labels and names none as favourable/);
  expect((await audit(many, { model, limit: 20, positive: "yes" })).limits[0]).not.toContain("favourable");
});

describe("CrowS-Pairs and BBQ", () => {
  it("are asked of both models, counted among the findings, and held to bounds", async () => {
    const task = await writeTask(false, "  bounds: { crows_pairs: 0.1, bbq: 0.1 }\n");
    const folder = path.dirname(task.file);
    const crowsPairs = path.join(folder, "crows.csv");
    // The toy is a stranger to words: a longer sentence is always the less likely one.
    const lines = Array.from({ length: 30 }, (_, at) => `s${at},s${at} and much more of it,age`);
    writeFileSync(crowsPairs, `sent_more,sent_less,bias_type\n${lines.join("\n")}\n`);
    const seen = new Set<string>();
    const onProgress = ({ what }: { what: string }) => seen.add(what);
    const found = await audit(task, { model, limit: 4, crowsPairs, against: model, onProgress });
    expect([...seen]).toEqual(["scoring", "swaps", "CrowS-Pairs"]);
    expect(found.bbq).toBeNull();
    expect(found.crows_pairs!.preferences).toMatchObject([{ bias: "all" }, { bias: "age", share: { value: 1 } }]);
    expect(found.findings.filter(({ part }) => part === "crows_pairs")).toHaveLength(2);
    expect(found.bounds.failures[0]).toMatch(/^CrowS-Pairs, all: .* is 0\.5 .*, the bound is 0\.1$/);
    const { changes } = found.against!;
    expect(changes.at(-1)).toMatchObject({ part: "crows_pairs", before: 1, after: 1, difference: { value: 0 } });
    await expect(audit(task, { model, bbq: path.join(folder, "none") })).rejects.toMatchObject({
      code: "missing",
      message: expect.stringMatching(/BBQ's .jsonl files .*none: there is no such file or folder$/),
    });
    // Nothing was held against it: neither passed over in silence nor broken.
    expect(found.bounds.unseen).toEqual(["bbq"]);
    const { stdout } = await stillroom(["audit", task.file, "--model", model, "--limit", "4"]);
    expect(stdout).toContain("the bound bbq was not looked at");
    await expect(audit(task, { model, bbq: folder, bbqRows: -1 })).rejects.toMatchObject({ code: "usage" });
    await expect(audit(task, { model, bbqRows: 5 })).rejects.toThrow("expected a folder bbq for bbqRows");
  });
});

/** Counts rows that were scored. */
function scored() {
  const asked = {
    rows: 0,
    hear: ({ rows }: { rows: number }) => {
      asked.rows += rows;
    },
  };
  return asked;
}

describe("a teacher's cache", () => {
  let fair: Task;
  let fairRun: string;
  let skewedRun: string;
  beforeAll(async () => {
    fair = await writeTask(false, "  positive: yes\n  bounds: { teacher: 0.2 }\n");
    fairRun = await tuned(fair);
    skewedRun = await tuned(await writeTask(true));
  });
  const taught = async (adapter: string, limit?: number, texts?: string) => {
    const out = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-audit-cache-")), "cache");
    const asked = { teacher: model, teacherAdapter: adapter, topK: 16, threads: 1, limit, texts };
    return (await teach(fair, { ...asked, out }).result).cache;
  };

  it("of a teacher that looks at names is found skewed beside the labels, and breaks its bound", async () => {
    const cache = await taught(skewedRun);
    const { teacher, findings, bounds } = await audit(fair, { model, adapter: fairRun, cache });
    expect(teacher).toMatchObject({ cache, rows: 160, silent: 0, temperature: 1 });
    expect(teacher!.mass).toBeGreaterThan(0.7);
    const skew = (group: string) =>
      teacher!.skews.find((one) => one.source === "column" && one.attribute === "region" && one.group === group)!;
    const [north, south] = [skew("north"), skew("south")];
    expect(north).toMatchObject({ label: "yes", rows: 80 });
    expect(north.difference.low).toBeGreaterThan(0.2);
    expect(south.difference.high).toBeLessThan(-0.2);
    expect(north.teacher - north.labels).toBeCloseTo(north.difference.value, 12);
    expect(north.p_holm).toBeLessThan(1e-6);
    expect(findings.filter(({ part }) => part === "teacher").map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/^region: calibration of yes is higher for north than for south/),
    );
    expect(bounds.failures).toHaveLength(4);
    expect(bounds.failures[0]).toMatch(
      /^region, north: the teacher's probability of yes above the labels' share is 0\./,
    );
  });

  it("of a teacher that learnt a balanced set is not accused; the first rows alone may be in it", async () => {
    const { teacher, findings, bounds } = await audit(fair, {
      model,
      adapter: fairRun,
      cache: await taught(fairRun, 100),
    });
    expect(teacher).toMatchObject({ rows: 100 });
    expect(findings.filter(({ part }) => part === "teacher")).toEqual([]);
    expect(bounds.passed).toBe(true);
  });

  it("that has texts beside the rows says the same of these, once the texts are named", async () => {
    const texts = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-audit-texts-")), "texts.txt");
    writeFileSync(texts, "A text of no task.\nAnd another one.\n");
    const [plain, both] = [await taught(fairRun, 100), await taught(fairRun, 100, texts)];
    const { teacher } = await audit(fair, { model, limit: 4, cache: plain });
    const { cache: _, ...told } = (await audit(fair, { model, limit: 4, cache: both, texts })).teacher!;
    expect(teacher).toMatchObject(told);
    const asked = scored();
    for (const [options, message] of [
      [{ cache: both }, /was made with texts beside the task's rows: expected their file for texts, received none/],
      [{ cache: plain, texts }, /does not fit: it was made with other rows .*, texts \(null there/],
      [{ texts }, /expected a cache for texts, received none/],
    ] as const)
      await expect(audit(fair, { model, limit: 4, onProgress: asked.hear, ...options })).rejects.toThrow(message);
    expect(asked.rows).toBe(0);
  });

  it("of other rows, or that is not whole, is refused before anything is scored", async () => {
    const cache = await taught(fairRun);
    const other = await writeTask(true);
    const asked = scored();
    const options = { model, limit: 4, cache, onProgress: asked.hear };
    await expect(audit(other, options)).rejects.toThrow(/does not fit: it was made with other rows/);
    truncateSync(path.join(cache, "rows.bin"), 100);
    await expect(audit(fair, options)).rejects.toThrow(/is not whole: 0 of 2 blocks are there/);
    expect(asked.rows).toBe(0);
  });
});

describe("audit refuses", () => {
  it.each<[string, object, string, RegExp]>([
    ["an unknown option", { group: ["region"] }, "usage", /no option group; did you mean groups\?/],
    [
      "a column that no row has",
      { groups: ["regoin"] },
      "input",
      /a column regoin to group by, received rows with text, region/,
    ],
    [
      "a column without a name",
      { groups: ["region", ""] },
      "usage",
      /^expected names of columns for groups, received \["region",""\]$/,
    ],
    ["a label that the task has not", { positive: "maybe" }, "usage", /one of no, yes for positive, received "maybe"/],
    ["predictions to be held against", { against: "before.jsonl" }, "usage", /a model or a run/],
    [
      "a folder without a teacher's cache",
      { cache: "/nowhere" },
      "missing",
      /a teacher's cache in \/nowhere, found no/,
    ],
    ["a word swapped with itself", { swaps: [["a", "A"]] }, "usage", /two different words/],
  ])("%s", async (_name, options, code, message) => {
    const task = await writeTask(false);
    await expect(audit(task, { model, limit: 4, ...options })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("rows whose labels are all unknown, by their split, number and place", async () => {
    // The labels are the values of the training rows.
    const { file } = await writeTask(false);
    writeFileSync(file, readFileSync(file, "utf8").replace(/, labels: \{.*\} \}/, " }"));
    const task = await readTask(file);
    const rows = path.join(path.dirname(task.file), "test.jsonl");
    writeFileSync(rows, '{"text":"Zoe ++:","region":"north","label":"maybe"}\n');
    await expect(audit(task, { model })).rejects.toMatchObject({
      code: "input",
      message:
        `loans has no good row in its test split: the first of 1 bad row is ${rows}:1: ` +
        'the answer "maybe" is none of the 2 labels; mend the rows, or give others for data.test',
    });
  });

  it.each([
    ["an attribute of one group", "  terms: { a: { b: [c] } }\n", /two groups or more for audit\.terms\.a/],
    ["an unknown bound", "  bounds: { parity: 1 }\n", /unknown field audit\.bounds\.parity/],
    ["a bound below 0", "  bounds: { flips: -1 }\n", /at least 0 for audit\.bounds\.flips/],
    ["an empty list", "  terms: { a: { b: [], c: [d] } }\n", /a list that is not empty for audit\.terms\.a\.b/],
  ])("in the task file %s", async (_name, lines, message) => {
    const { file } = await writeTask(false);
    writeFileSync(
      file,
      `name: a\nkind: classify\ndata: { test: test.jsonl }\nprompt: { template: "{{ text }}" }\naudit:\n${lines}`,
    );
    await expect(readTask(file)).rejects.toMatchObject({ code: "input", message: expect.stringMatching(message) });
  });
});
