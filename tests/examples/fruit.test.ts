// The rows of the fruit example: what its README says of them.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "csv-parse/sync";
import { describe, expect, it } from "vitest";
import { readRows } from "../../src/dataset/index.js";
import { readTask } from "../../src/task/index.js";

interface Plant {
  plant: string;
  type: string;
  species: string;
}
const folder = new URL("../../examples/fruit/", import.meta.url);
const read = (file: string) => parse(readFileSync(new URL(file, folder), "utf8"), { columns: true }) as Plant[];
const train = read("train.csv");
const test = read("test.csv");
const all = [...train, ...test];
const namesOf = (plants: Plant[], field: keyof Plant) => new Set(plants.map((row) => row[field].toLowerCase()));
const countsOf = (plants: Plant[]) => {
  const counts = new Map<string, number>();
  for (const { type } of plants) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
};

describe("the fruit rows", () => {
  it("are 449, each with three trimmed fields", () => {
    expect(all).toHaveLength(449);
    for (const row of all) {
      expect(Object.keys(row)).toEqual(["plant", "type", "species"]);
      for (const text of Object.values(row)) expect(text).toMatch(/^\S(.*\S)?$/);
      expect(row.species).toMatch(/^(× )?\p{Lu}\p{Ll}+ ?(× )?[\p{Ll}-]*( × \p{Ll}+)?$/u);
    }
  });

  it("name no plant twice, in one file or in both", () => {
    expect(namesOf(all, "plant").size).toBe(all.length);
  });

  it("have no species in both files", () => {
    const trained = namesOf(train, "species");
    expect([...namesOf(test, "species")].filter((species) => trained.has(species))).toEqual([]);
  });

  it("have 13 types, each often enough in both files to train, validate and test on", () => {
    const [trained, tested] = [countsOf(train), countsOf(test)];
    expect([...trained.keys()].sort()).toEqual([...tested.keys()].sort());
    expect(trained.size).toBe(13);
    expect(Math.min(...trained.values())).toBeGreaterThanOrEqual(15);
    expect(Math.min(...tested.values())).toBeGreaterThanOrEqual(7);
  });

  it("give all plants of one genus the same type", () => {
    const types = new Map<string, Set<string>>();
    for (const { species, type } of all) {
      const genus = species.replace(/^× /, "").split(" ")[0]!;
      types.set(genus, (types.get(genus) ?? new Set()).add(type));
    }
    expect([...types].filter(([, found]) => found.size > 1)).toEqual([]);
  });

  it("are read through the task file without a bad row, a part of the training rows as validation", async () => {
    const task = await readTask(fileURLToPath(new URL("task.yaml", folder)));
    const splits = ["train", "validation", "test"] as const;
    const [trained, validated, tested] = await Promise.all(splits.map((split) => readRows(task, split)));
    expect([trained!.bad, validated!.bad, tested!.bad]).toEqual([[], [], []]);
    expect(trained!.rows.length + validated!.rows.length).toBe(train.length);
    expect(validated!.rows.length / train.length).toBeCloseTo(0.15, 1);
    expect(new Set(validated!.rows.map(({ answer }) => answer)).size).toBe(13);
    expect(tested!.rows.map(({ answer }) => answer)).toEqual(test.map(({ type }) => type));
  });

  it("hold the seed's examples on the right side", () => {
    const typeIn = (plants: Plant[], name: string) => plants.find(({ plant }) => plant === name)?.type;
    expect([typeIn(train, "peach"), typeIn(test, "apple")]).toEqual(["drupe", "pome"]);
  });
});
