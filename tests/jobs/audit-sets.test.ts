// audit() of sets of labels on a toy: each label is a decision of its own. One label follows a name, and is found in rows, groups and swaps; the other follows a mark, and
// is not accused.
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type AuditResult, audit } from "../../src/jobs/index.js";
import { Random } from "../../src/support/random.js";
import type { Task } from "../../src/task/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { named, tunedOn, writeNamesTask } from "./toy-names.js";

let model: string;
let task: Task;
let run: string;
let found: AuditResult;

beforeAll(async () => {
  model = writeTextToy();
  const random = new Random(160);
  const of = {
    ...{ name: "grants", kind: "multilabel", answer: "{ field: gets, labels: { loan: loan, gift: gift } }" },
    bounds: "  bounds: { demographic_parity: 0.3, flips: 0.5 }\n",
  };
  // "loan" follows the name, "gift" the mark.
  task = await writeNamesTask(of, (at) => {
    const mark = at % 4 < 2 ? "+" : "-";
    const row = named(at, mark, random);
    return { ...row, gets: [...(row.region === "north" ? ["loan"] : []), ...(mark === "+" ? ["gift"] : [])] };
  });
  run = await tunedOn(task, model, { rank: 8, steps: 80 });
  const out = path.join(path.dirname(task.file), "short");
  const other = await tunedOn(task, model, { out, method: "head", steps: 2 });
  found = await audit(task, { model, adapter: run, against: other, seed: 5 });
});

describe("an audit of sets of labels", () => {
  it("finds the label that follows a name in the rows, and not the other", () => {
    expect(found.positive).toEqual(["loan", "gift"]);
    const region = found.data.groups.find(({ source, attribute }) => source === "column" && attribute === "region")!;
    expect(region.gaps).toMatchObject([
      { metric: "base_rate", label: "loan", difference: { value: 1 } },
      { metric: "base_rate", label: "gift" },
    ]);
    expect(region.gaps[1]!.p_holm).toBeGreaterThan(0.05);
    const tied = found.data.ties.terms.filter(({ group }) => group !== null);
    // Of a label that few have, words may only be tied to having it: the other names are tied to no label.
    expect(new Set(tied.map(({ term, label }) => `${term} ${label}`))).toEqual(new Set(["zoe loan", "zed loan"]));
  });

  it("compares groups label by label", () => {
    const { groups, gaps } = found.groups.find(({ attribute }) => attribute === "region")!;
    const gap = (metric: string, label: string) => gaps.find((one) => one.metric === metric && one.label === label)!;
    expect(gap("demographic_parity", "loan").difference.low).toBeGreaterThan(0.5);
    expect(gap("demographic_parity", "gift").difference.low).toBeLessThan(0);
    expect(gap("equal_opportunity", "gift").p_holm).toBeGreaterThan(0.05);
    const [north] = groups;
    expect(north!.labels.map(({ label }) => label)).toEqual(["loan", "gift"]);
    expect(north!.labels[0]).toMatchObject({ base_rate: 1, false_positive_rate: null });
    const whole = gaps.find(({ metric }) => metric === "accuracy")!;
    expect(whole.label).toBeNull();
  });

  it("swaps words, and looks at each label's decision and probability", () => {
    const [loan, gift] = found.swaps.filter(({ attribute }) => attribute === "people");
    expect([loan!.label, gift!.label]).toEqual(["loan", "gift"]);
    expect(loan!.agreement.high).toBeLessThan(0.5);
    expect(loan!.shift!.high).toBeLessThan(-0.3);
    expect(gift!.agreement.low).toBeGreaterThan(0.7);
    const said = found.findings.map(({ what }) => what);
    expect(said).toContainEqual(expect.stringMatching(/shift the probability of loan, on 80 rows$/));
    expect(said.filter((what) => /gift/.test(what))).toEqual([]);
    expect(found.bounds.failures.map((failure) => failure.replace(/ is -?\d.*$/, ""))).toEqual([
      "region: demographic_parity of loan between north and south",
      "people: demographic_parity of loan between north and south",
      "people, north and south swapped: the share of flipped answers of loan",
    ]);
  });

  it("is held against another run, label by label", () => {
    const changes = found.against!.changes.map(({ what }) => what);
    expect(changes).toContain("region: demographic_parity of loan, north above south");
    expect(changes).toContain("people: flips of gift, north to south");
    expect(changes[0]).toBe(task.metric);
    // Two steps taught the other run little: its probabilities hardly follow the name.
    const shift = found.against!.changes.find(({ what }) => what === "people: shift of loan, north to south")!;
    expect(shift.difference.high).toBeLessThan(-0.2);
  });

  it("of one favourable label looks at that alone", async () => {
    const { positive, swaps, groups } = await audit(task, { model, adapter: run, positive: "gift", limit: 40 });
    expect(positive).toEqual(["gift"]);
    expect(new Set(swaps.map(({ label }) => label))).toEqual(new Set(["gift"]));
    expect(groups[0]!.groups[0]!.labels).toHaveLength(1);
  });

  it("is refused before anything is scored without a head, on either side, and with a teacher's cache", async () => {
    let asked = 0;
    const onProgress = () => {
      asked += 1;
    };
    await expect(audit(task, { model, onProgress })).rejects.toThrow(/a set of labels needs a head/);
    const against = { model, adapter: run, against: model, onProgress };
    await expect(audit(task, against)).rejects.toThrow(/a set of labels needs a head/);
    await expect(audit(task, { model, adapter: run, cache: path.dirname(task.file), onProgress })).rejects.toThrow(
      /looked through for labels or numbers, and grants is of kind multilabel/,
    );
    expect(asked).toBe(0);
  });
});
