// The vaccine-names example: what its README says of its rows, and the whole of it on a toy, whose names are known in every spelling that is evened out.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "csv-parse/sync";
import { expect, it } from "vitest";
import { count, play, searches, trafficOf } from "../../examples/vaccine-names/traffic.mjs";
import { serve } from "../../src/serve/index.js";
import { jsonLines } from "../support/json-lines.js";
import { writeTextToy } from "../support/text_toy.js";

const folder = fileURLToPath(new URL("../../examples/vaccine-names/", import.meta.url));
const read = (name: string) =>
  parse(readFileSync(path.join(folder, name), "utf8"), { columns: true }) as Record<string, string>[];

it("has 65 languages, 16 diseases, and searches that no prompt shows", () => {
  const [languages, shown] = [read("languages.csv"), read("train.csv")];
  const names = languages.map(({ language }) => language);
  const diseases = shown.map(({ disease }) => disease);
  expect([new Set(names).size, names.length]).toEqual([65, 65]);
  expect([new Set(diseases).size, diseases.length]).toEqual([16, 16]);
  for (const { language, example } of shown) expect(languages).toContainEqual({ language, example });
  const asked = searches();
  expect(asked).toHaveLength(255);
  const [answers, examples] = [shown.map(({ name }) => name), languages.map(({ example }) => example)];
  for (const { language, disease, search } of asked) {
    expect(names).toContain(language);
    if (disease !== "") expect(diseases).toContain(disease);
    expect([...answers, ...examples]).not.toContain(search);
  }
  expect(new Set(asked.map(({ search, disease }) => `${search}|${disease}`)).size).toBe(asked.length);
});

it("runs on a toy, does nothing twice, and its names are recognised as people type them", async () => {
  const out = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-vaccines-")), "out");
  const model = writeTextToy({ "llama.context_length": 8192 });
  const args = ["run.mjs", "--model", model, "--out", out, "--languages", "2", "--threads", "1", "--json"];
  const run = () =>
    JSON.parse(execFileSync(process.execPath, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] }).toString());
  const first = run();
  expect(first).toMatchObject({ rows: 32, traffic: { by_spelling: { "as written": { searches: 235, others: 20 } } } });
  expect(first.names).toBeGreaterThan(1);
  expect(first.computed).toBe(32 + first.names);
  expect(run()).toMatchObject({
    names: first.names,
    understood: first.understood,
    computed: 0,
    traffic: first.traffic,
  });
  const meant = jsonLines(path.join(out, "meant.jsonl"));
  const known = jsonLines(path.join(out, "names.jsonl")).map(({ search }, at) => ({
    search: search as string,
    disease: meant[at].prediction as string,
  }));
  const server = await serve({ store: path.join(out, "store"), port: 0 });
  const counts = count(await play(server.url, trafficOf([...known, { search: "nobody asked", disease: "" }])));
  await server.close();
  const all = {
    searches: known.length,
    recognised: known.length,
    right: known.length,
    others: 1,
    others_recognised: 0,
  };
  expect(counts.by_spelling["as written"]).toEqual(all);
}, 60_000);
