// POST /v1/embeddings asked by the official client, whose vectors travel as base64 unless it says otherwise.
import type OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { batch } from "../../src/batch/index.js";
import { embed } from "../../src/index.js";
import type { Server } from "../../src/serve/index.js";
import { embedding, freshFolder, writeLines } from "../batch/requests.js";
import { writeBrokenToy } from "../support/text_toy.js";
import { clientOf, metric, post, started } from "./server.js";

const model = writeBrokenToy("Z");
let server: Server;
let client: OpenAI;
beforeAll(async () => {
  server = await started({ model });
  client = clientOf(server);
});
afterAll(() => server.close());

const count = (from: string) => metric(server, `stillroom_answers_total{from="${from}"}`);

it("gives embed()'s vectors: by the model once, then by the store, and of a list only what is missing", async () => {
  const [plum, pear] = (await embed(model, ["plum", "pear"], { threads: 1 })).map((vector) => [...vector]);
  const first = await client.embeddings.create({ model: "toy", input: "plum" }).withResponse();
  expect(first.response.headers.get("x-stillroom-cache")).toBe("miss");
  expect(first.data).toMatchObject({ object: "list", model: "text-toy", usage: { prompt_tokens: 4, total_tokens: 4 } });
  expect(first.data.data).toEqual([{ object: "embedding", index: 0, embedding: plum }]);
  const again = await client.embeddings
    .create({ model: "toy", input: "plum", encoding_format: "float" })
    .withResponse();
  expect(again.response.headers.get("x-stillroom-cache")).toBe("hit");
  expect(again.data.data[0]!.embedding).toEqual(plum);
  const [before, known] = [await count("model"), await count("store")];
  const list = await client.embeddings.create({ model: "toy", input: ["pear", "plum", "pear"] }).withResponse();
  expect(list.response.headers.get("x-stillroom-cache")).toBe("miss");
  expect(list.data.data.map(({ embedding }) => embedding)).toEqual([pear, plum, pear]);
  expect([(await count("model")) - before, (await count("store")) - known]).toEqual([1, 1]);
  const last = await post(server, "/v1/embeddings", { model: "toy", input: "plum", pooling: "last" });
  expect(last.json.data[0].embedding).not.toEqual(plum);
  expect((await post(server, "/v1/lookup", { key: "plum" })).json.hit).toBe(false);
});

it("what a batch left is known, and what is not known without a live model is 404", async () => {
  const store = `${freshFolder()}/store`;
  const file = writeLines([embedding("a", ["apple", "quince"])]);
  await batch(file, { model, threads: 1, store, out: `${store}.jsonl` });
  const still = await started({ model, store, live: false });
  const known = await post(still, "/v1/embeddings", { model: "toy", input: ["quince", "apple"] });
  expect(known.headers.get("x-stillroom-cache")).toBe("hit");
  expect(known.json.data).toHaveLength(2);
  expect(await post(still, "/v1/embeddings", { model: "toy", input: ["quince", "medlar"] })).toMatchObject({
    status: 404,
    json: { error: { code: "answer_not_found" } },
  });
  await still.close();
});

it("500 equal requests at once are computed once, and a long list holds up neither a short one nor words", async () => {
  const before = await count("model");
  const all = await Promise.all(
    Array.from({ length: 500 }, () => post(server, "/v1/embeddings", { model: "toy", input: "all at once" })),
  );
  expect(new Set(all.map(({ json }) => JSON.stringify(json))).size).toBe(1);
  expect((await count("model")) - before).toBe(1);
  const input = Array.from({ length: 400 }, (_, number) => `${"long ".repeat(30)}${number}`);
  const list = post(server, "/v1/embeddings", { model: "toy", input });
  while ((await count("model")) - before < 2) await new Promise((resolve) => setTimeout(resolve, 2));
  const words = { model: "toy", prompt: "x", max_tokens: 3 };
  const beside = [
    post(server, "/v1/embeddings", { model: "toy", input: "short" }),
    post(server, "/v1/completions", words),
  ];
  expect((await Promise.all(beside)).map(({ status }) => status)).toEqual([200, 200]);
  expect((await count("model")) - before).toBeLessThan(400);
  expect((await list).status).toBe(200);
});

it("who leaves ends the work on what nobody else waits for", async () => {
  const input = Array.from({ length: 1000 }, (_, number) => `${"left ".repeat(40)}${number}`);
  const before = await count("model");
  const stop = new AbortController();
  const leaving = client.embeddings.create({ model: "toy", input }, { signal: stop.signal });
  const shared = post(server, "/v1/embeddings", { model: "toy", input: input[999] });
  while ((await count("model")) === before) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort();
  await expect(leaving).rejects.toThrow();
  expect((await shared).status).toBe(200);
  expect((await post(server, "/v1/embeddings", { model: "toy", input: "behind it" })).status).toBe(200);
  expect((await count("model")) - before).toBeLessThan(500);
});

it("too many waiting are sent away, and come through later", async () => {
  const narrow = await started({ model, waiting: 1 });
  const inputs = Array.from({ length: 12 }, (_, row) =>
    Array.from({ length: 40 }, (_, i) => `${"x".repeat(200)}${row} ${i}`),
  );
  const ask = (input: string[]) => post(narrow, "/v1/embeddings", { model: "toy", input });
  const all = await Promise.all(inputs.map(ask));
  const away = inputs.filter((_, row) => all[row]!.status === 429);
  expect(away.length).toBeGreaterThan(0);
  expect(all.filter(({ status }) => status === 200)).toHaveLength(12 - away.length);
  expect(all.find(({ status }) => status === 429)!.json.error.code).toBe("queue_full");
  expect((await ask(away[0]!)).status).toBe(200);
  await narrow.close();
});

it.each<[string, object, number, string | null, RegExp]>([
  ["an unknown model", { model: "gpt-9", input: "a" }, 404, "model", /text-toy/],
  ["no model", { input: "a" }, 400, "model", /^expected text-toy for model, .*received none$/],
  ["no input", { model: "toy" }, 400, "input", /expected a text/],
  ["tokens", { model: "toy", input: [1, 2] }, 400, "input", /tokens of another tokenizer/],
  ["other dimensions", { model: "toy", input: "a", dimensions: 16 }, 400, "dimensions", /32 dimensions/],
  ["a text that is too long", { model: "toy", input: ["a", "b".repeat(400)] }, 400, "input[1]", /1 to 256 tokens/],
  ["a text without a finite vector", { model: "toy", input: ["a", "Z"] }, 500, "input", /input\[1\]: .*no finite/],
])("%s is an error with its status, and costs nobody else", async (_name, body, status, param, message) => {
  const [found, good] = await Promise.all([
    post(server, "/v1/embeddings", body),
    post(server, "/v1/embeddings", { model: "toy", input: `beside ${message}` }),
  ]);
  const type = status === 500 ? "server_error" : "invalid_request_error";
  expect(found).toMatchObject({ status, json: { error: { type, param } } });
  expect(found.json.error.message).toMatch(message);
  expect(good.status).toBe(200);
});
