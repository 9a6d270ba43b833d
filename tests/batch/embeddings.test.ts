// OpenAI's requests for embeddings in a batch: their lines, what is shared between texts and lists, and rows that fail alone.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { type BatchOptions, batch } from "../../src/batch/index.js";
import { embed } from "../../src/index.js";
import { openStore } from "../../src/store/index.js";
import { jsonLines } from "../support/json-lines.js";
import { writeBrokenToy } from "../support/text_toy.js";
import { completion, embedding, freshFolder, writeLines } from "./requests.js";

process.env.XDG_CACHE_HOME = path.join(freshFolder(), "cache");
const model = writeBrokenToy("Z");

function options(given: Partial<BatchOptions> = {}): BatchOptions {
  const folder = freshFolder();
  return { model, threads: 1, store: path.join(folder, "store"), out: path.join(folder, "out.jsonl"), ...given };
}

interface Line {
  custom_id: string;
  response: {
    status_code: number;
    body: {
      data: { object: string; index: number; embedding: number[] | string }[];
      usage: object;
      error: { message: string };
    };
  };
}

const lines = (file: string): Line[] => jsonLines(file);

it("gives what embed() gives, as numbers and as base64, and computes each text once", async () => {
  const to = options();
  const file = writeLines([
    embedding("one", "plum"),
    embedding("list", ["pear", "plum", "a cherry"]),
    embedding("coded", ["plum"], { encoding_format: "base64", dimensions: 32, user: "x" }),
    embedding("last", "plum", { pooling: "last" }),
    completion("words", "plum"),
  ]);
  const result = await batch(file, to);
  expect(result).toMatchObject({ rows: 5, computed: 5, from_store: 2, errors: 0 });
  const [one, list, coded, last, words] = lines(to.out);
  const [plum, pear, cherry] = await embed(model, ["plum", "pear", "a cherry"], { threads: 1 });
  expect(one!.response).toMatchObject({
    status_code: 200,
    body: { object: "list", model: "text-toy", usage: { prompt_tokens: 4, total_tokens: 4 } },
  });
  expect(one!.response.body.data).toEqual([{ object: "embedding", index: 0, embedding: Array.from(plum!) }]);
  expect(list!.response.body.data.map(({ embedding }) => embedding)).toEqual([pear, plum, cherry].map((v) => [...v!]));
  expect(list!.response.body).toMatchObject({
    data: [{ index: 0 }, { index: 1 }, { index: 2 }],
    usage: { prompt_tokens: 16 },
  });
  const bytes = Buffer.from(coded!.response.body.data[0]!.embedding as string, "base64");
  expect(bytes).toEqual(Buffer.from(plum!.buffer));
  expect(last!.response.body.data[0]!.embedding).toEqual([
    ...(await embed(model, ["plum"], { threads: 1, pooling: "last" }))[0]!,
  ]);
  expect(words!.response.status_code).toBe(200);
  const before = readFileSync(to.out);
  expect(await batch(file, to)).toMatchObject({ rows: 5, computed: 0, from_store: 7 });
  expect(readFileSync(to.out)).toEqual(before);
  const store = await openStore(to.store, { readOnly: true });
  // A vector is no answer to a text.
  expect(store.lookup("pear").hit).toBe(false);
  expect(store.lookup("plum")).toMatchObject({ hit: true, ended: "length" });
  await store.close();
});

it("the same bytes in windows that cut lists, and after limits that did", async () => {
  const file = writeLines(
    Array.from({ length: 12 }, (_, row) =>
      embedding(
        `${row}`,
        Array.from({ length: 5 }, (_, i) => `text ${(row * 3 + i) % 17}`),
      ),
    ),
  );
  const [whole, windows, pieces, finished] = [
    options(),
    options({ window: 3 }),
    options(),
    options({ order: "finished" }),
  ];
  expect(await batch(file, whole)).toMatchObject({ rows: 12, computed: 17, from_store: 43 });
  await batch(file, windows);
  expect(readFileSync(windows.out)).toEqual(readFileSync(whole.out));
  const cut = await batch(file, { ...pieces, maxRows: 7 });
  expect(cut).toMatchObject({ rows: lines(pieces.out).length, computed: 7, stopped: "max_rows" });
  expect(cut.rows).toBeLessThan(12);
  const progress: { rows: number; totalRows: number }[] = [];
  await batch(file, { ...pieces, onProgress: ({ rows, totalRows }) => progress.push({ rows, totalRows }) });
  expect(readFileSync(pieces.out)).toEqual(readFileSync(whole.out));
  expect(progress.at(-1)).toEqual({ rows: 12, totalRows: 12 });
  await batch(file, finished);
  expect(
    lines(finished.out)
      .map(({ custom_id }) => custom_id)
      .sort(),
  ).toEqual(
    lines(whole.out)
      .map(({ custom_id }) => custom_id)
      .sort(),
  );
});

it("a text without a finite vector is a failed row, and so is what cannot be asked; the others go on", async () => {
  const to = options();
  const wrong: [object, RegExp][] = [
    [embedding("a", "plum Z"), /no finite embedding/],
    [embedding("b", ["pear", "Z", "ZZ"]), /input\[1\]: .*no finite embedding/],
    [embedding("c", ""), /body\.input: expected a text/],
    [embedding("d", [1, 2, 3]), /body\.input: expected a text/],
    [embedding("e", []), /body\.input: expected a list that is not empty, received \[\]$/],
    [embedding("f", ["x".repeat(300)]), /input\[0\]: expected 1 to 256 tokens.*received 300/],
    [embedding("g", "plum", { dimensions: 8 }), /body\.dimensions: the model's vectors have 32 dimensions/],
    [embedding("h", "plum", { encoding_format: "int8" }), /body\.encoding_format/],
    [embedding("i", "plum", { pooling: "cls" }), /body\.pooling/],
    [embedding("j", "plum", { truncate: true }), /truncate/],
  ];
  const bad: string[] = [];
  const result = await batch(
    writeLines([embedding("good", "plum"), ...wrong.map(([line]) => line), embedding("also good", ["pear", "apple"])]),
    { ...to, onBad: ({ reason }) => bad.push(reason) },
  );
  expect(result).toMatchObject({ rows: 2, errors: wrong.length });
  expect(bad).toHaveLength(wrong.length);
  expect(lines(to.out).map(({ custom_id }) => custom_id)).toEqual(["good", "also good"]);
  const errors = lines(result.errors_file!);
  for (const [place, [line, reason]] of wrong.entries()) {
    const status_code = /finite/.test(reason.source) ? 500 : 400;
    expect(errors[place]).toMatchObject({ custom_id: (line as Line).custom_id, response: { status_code } });
    expect(errors[place]!.response.body.error.message).toMatch(reason);
  }
});
