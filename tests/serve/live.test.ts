// A server with a toy as its model, asked by the official client: answers, streams, what is kept, what is shared, who leaves.
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { setImmediate } from "node:timers/promises";
import type OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Server } from "../../src/serve/index.js";
import { writeTextToy } from "../support/text_toy.js";
import { chatToy, clientOf, metric, post, started } from "./server.js";

let server: Server;
let client: OpenAI;
let model = "";
beforeAll(async () => {
  model = chatToy();
  server = await started({ model });
  client = clientOf(server);
});
afterAll(() => server.close());

const user = (content: string) => [{ role: "user" as const, content }];
const computed = () => metric(server, 'stillroom_answers_total{from="model"}');

describe("answers", () => {
  it("a chat is answered by the model once, then by the store, and look-ups find it", async () => {
    const body = { model: "text-toy", messages: user("Is a plum a drupe?"), max_tokens: 8, temperature: 0 };
    const { data, response } = await client.chat.completions.create(body).withResponse();
    expect(data).toMatchObject({
      object: "chat.completion",
      model: "text-toy",
      choices: [{ index: 0, message: { role: "assistant" }, finish_reason: "length", logprobs: null }],
      usage: { completion_tokens: 8 },
    });
    expect(response.headers.get("x-stillroom-cache")).toBe("miss");
    const again = await client.chat.completions.create({ ...body, user: "another" }).withResponse();
    expect(again.response.headers.get("x-stillroom-cache")).toBe("hit");
    expect(again.data.choices).toEqual(data.choices);
    expect((await post(server, "/v1/lookup", { key: "is a plum a drupe" })).json).toMatchObject({
      hit: true,
      answer: data.choices[0]!.message.content!.trim(),
    });
  });

  it("completions, log-probabilities and schemas", async () => {
    const plain = await client.completions.create({ model: "toy", prompt: "plum", max_tokens: 4, logprobs: 2 });
    expect(plain.object).toBe("text_completion");
    expect(plain.choices[0]!.logprobs!.token_logprobs).toHaveLength(4);
    const schema = { type: "object", properties: { a: { enum: [1, 2] } }, required: ["a"] };
    const format = { type: "json_schema" as const, json_schema: { name: "x", schema } };
    const made = await client.chat.completions.create({
      model: "toy",
      messages: user("go"),
      max_tokens: 40,
      response_format: format,
    });
    expect(JSON.parse(made.choices[0]!.message.content!)).toMatchObject({ a: expect.any(Number) });
    const { data } = await client.models.list();
    expect(data).toMatchObject([{ id: "text-toy", object: "model" }]);
    expect(await client.models.retrieve("text-toy")).toMatchObject({ id: "text-toy" });
  });

  it.each<[string, "chat/completions" | "completions", object, number, string | null, string]>([
    [
      "no model",
      "chat/completions",
      { messages: user("a") },
      400,
      "model",
      "expected text-toy for model, .*received none",
    ],
    ["no model", "completions", { prompt: "a" }, 400, "model", "expected text-toy for model, .*received none"],
    ["a number", "completions", { model: 7, prompt: "a" }, 400, "model", "expected text-toy for model, .*received 7"],
    ["another model", "completions", { model: "gpt-9", prompt: "a" }, 404, "model", 'expected text-toy .*"gpt-9"'],
    [
      "no messages",
      "chat/completions",
      { model: "toy" },
      400,
      "messages",
      "body.messages: expected a list, received none",
    ],
    ["an unknown field", "completions", { model: "toy", prompt: "a", topk: 1 }, 400, null, "body: unknown field topk"],
  ])("%s in a body of %s is told in our words", async (_name, at, body, status, param, message) => {
    const { status: found, json } = await post(server, `/v1/${at}`, body);
    expect({ found, ...json.error }).toMatchObject({ found: status, param });
    expect(json.error.message).toMatch(new RegExp(`^${message}$`));
  });

  it("a stream is the same text in pieces, live and from the store", async () => {
    for (let seed = 0; seed < 12; seed++) {
      const body = {
        model: "toy",
        messages: user(`tell ${seed}`),
        max_tokens: 40,
        temperature: 1,
        seed,
        stop: ["e", "ab"],
      };
      const events = { stream: true as const, stream_options: { include_usage: true } };
      const streamed = async () => {
        let [text, pieces, end, usage]: [string, number, string | null, unknown] = ["", 0, null, null];
        for await (const chunk of await client.chat.completions.create({ ...body, ...events })) {
          const [choice] = chunk.choices;
          text += choice?.delta.content ?? "";
          if (choice?.delta.content) pieces++;
          end = choice?.finish_reason ?? end;
          usage = chunk.usage ?? usage;
        }
        return { text, pieces, end, usage };
      };
      const live = await streamed();
      const known = await streamed();
      const whole = await client.chat.completions.create(body);
      expect(live.text).toBe(whole.choices[0]!.message.content);
      expect(live).toMatchObject({ end: whole.choices[0]!.finish_reason, usage: whole.usage });
      expect(known).toEqual({ ...live, pieces: Math.min(1, live.pieces) });
      if (live.text.length > 20) expect(live.pieces).toBeGreaterThan(1);
    }
  });

  it("a stream of completions carries log-probabilities", async () => {
    const tokens: unknown[] = [];
    const body = { model: "toy", prompt: "stream me", max_tokens: 5, logprobs: 0, stream: true as const };
    for await (const chunk of await client.completions.create(body))
      tokens.push(...(chunk.choices[0]?.logprobs?.tokens ?? []));
    expect(tokens).toHaveLength(5);
  });

  it("500 equal requests at once are computed once", async () => {
    const before = await computed();
    const body = { model: "toy", prompt: "all at once", max_tokens: 30, temperature: 0 };
    const all = await Promise.all(Array.from({ length: 500 }, () => post(server, "/v1/completions", body)));
    expect(new Set(all.map(({ json }) => json.choices[0].text)).size).toBe(1);
    expect(all.every(({ status }) => status === 200)).toBe(true);
    expect((await computed()) - before).toBe(1);
  });

  it.each<[string, string, object | string, number, string | null]>([
    ["an unknown model", "/v1/completions", { model: "gpt-9", prompt: "a" }, 404, "model"],
    ["a wrong field", "/v1/completions", { model: "toy", prompt: "a", n: 2 }, 400, "n"],
    [
      "a huge seed",
      "/v1/completions",
      '{"model":"toy","prompt":"a","seed":123456789012345678901234567890}',
      400,
      "seed",
    ],
    [
      "an infinite temperature",
      "/v1/completions",
      '{"model":"toy","prompt":"a","temperature":1e999}',
      400,
      "temperature",
    ],
    ["more than the context", "/v1/completions", { model: "toy", prompt: "a", max_tokens: 1000 }, 400, null],
    ["a wrong grammar", "/v1/completions", { model: "toy", prompt: "a", grammar: "no grammar" }, 400, null],
    [
      "a stream of it",
      "/v1/completions",
      { model: "toy", prompt: "a", grammar: "no grammar", stream: true },
      400,
      null,
    ],
    ["tools", "/v1/chat/completions", { model: "toy", messages: user("a"), tools: [] }, 400, "tools"],
    ["stream as a text", "/v1/completions", { model: "toy", prompt: "a", stream: "yes" }, 400, "stream"],
    ["__proto__", "/v1/completions", '{"model":"toy","prompt":"a","__proto__":{"n":2}}', 400, null],
  ])("%s is an error with its status", async (_name, at, body, status, param) => {
    const found = await post(server, at, body);
    expect(found).toMatchObject({ status, json: { error: { type: "invalid_request_error", param } } });
  });
});

describe("limits", () => {
  it("who leaves ends the generation, unless another waits for the same", async () => {
    const slow = await started({ model, sequences: 1, waiting: 1 });
    const body = (prompt: string) =>
      JSON.stringify({ model: "toy", prompt, max_tokens: 250, temperature: 1, stream: true });
    const open = async (prompt: string) => {
      const asked = httpRequest(`${slow.url}/v1/completions`, { method: "POST" });
      asked.end(body(prompt));
      const [response] = await once(asked, "response");
      await once(response, "data");
      return { asked, response };
    };
    const alone = await open("a");
    alone.asked.destroy();
    const [first, second] = await Promise.all([open("b"), open("b")]);
    first.asked.destroy();
    let text = "";
    for await (const piece of second.response.setEncoding("utf8")) text += piece;
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    // Of the two, the first was never finished, and nothing of it was kept.
    expect(await metric(slow, 'stillroom_answers_total{from="model"}')).toBe(1);
    for (const [prompt, from] of [
      ["a", "miss"],
      ["b", "hit"],
      ["a", "hit"],
    ] as const) {
      const again = await post(slow, "/v1/completions", { ...JSON.parse(body(prompt)), stream: false });
      expect([prompt, again.headers.get("x-stillroom-cache")]).toEqual([prompt, from]);
    }
    await slow.close();
  });

  it("when too many wait, others are sent away with the time to come back", async () => {
    const narrow = await started({ model, sequences: 1, waiting: 1 });
    const all = await Promise.all(
      Array.from({ length: 12 }, (_, seed) =>
        post(narrow, "/v1/completions", { model: "toy", prompt: "x", max_tokens: 200, seed }),
      ),
    );
    const away = all.filter(({ status }) => status === 429);
    expect(away.length).toBeGreaterThan(0);
    expect(all.filter(({ status }) => status === 200).length).toBe(12 - away.length);
    expect(away[0]).toMatchObject({ json: { error: { type: "rate_limit_error", code: "queue_full" } } });
    expect(away[0]!.headers.get("retry-after")).toBe("2");
    await narrow.close();
  });

  it("a reader that does not read holds up neither the model nor others, and has all of it when it reads", async () => {
    // Each event carries the model's name: together they are more than the buffers of both sides hold.
    const long = await started({ model: writeTextToy({ "general.name": "toy".repeat(30_000) }) });
    const asked = httpRequest(`${long.url}/v1/completions`, { method: "POST" });
    const grammar = "root ::= [a-z]{240}";
    asked.end(JSON.stringify({ model: "toy", prompt: "unread", max_tokens: 245, grammar, stream: true }));
    const [response] = await once(asked, "response");
    const warnings: string[] = [];
    const warn = ({ message }: Error) => warnings.push(message);
    process.on("warning", warn);
    while ((await metric(long, 'stillroom_answers_total{from="model"}')) < 1) await setImmediate();
    expect((await post(long, "/v1/completions", { model: "toy", prompt: "beside", max_tokens: 3 })).status).toBe(200);
    // The unread one, and the one that asks for this number.
    expect(await metric(long, "stillroom_requests_in_flight")).toBe(2);
    let text = "";
    for await (const piece of response.setEncoding("utf8")) text += piece;
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    // Nothing listens on for each time that was waited.
    process.off("warning", warn);
    expect(warnings).toEqual([]);
    await long.close();
  });

  it("without a live model what is not known is 404, and a batch may write beside it", async () => {
    const other = await started({ model });
    const body = { model: "toy", prompt: "known", max_tokens: 3 };
    const made = await post(other, "/v1/completions", body);
    const { folder } = (other as unknown as { store: { folder: string } }).store;
    await other.close();
    const still = await started({ model, store: folder, live: false });
    expect((await post(still, "/v1/completions", body)).json.choices).toEqual(made.json.choices);
    expect(await post(still, "/v1/completions", { ...body, prompt: "unknown" })).toMatchObject({
      status: 404,
      json: { error: { code: "answer_not_found" } },
    });
    await still.close();
  });

  it("a stop lets requests end within the grace, and cuts them behind it", async () => {
    const patient = await started({ model });
    const asked = httpRequest(`${patient.url}/v1/completions`, { method: "POST" });
    asked.end(JSON.stringify({ model: "toy", prompt: "last", max_tokens: 100, stream: true }));
    const [response] = await once(asked, "response");
    await once(response, "data");
    const closed = patient.close();
    await expect(fetch(patient.url)).rejects.toThrow();
    let text = "";
    for await (const piece of response.setEncoding("utf8")) text += piece;
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    await closed;
    const hasty = await started({ model, grace: 0, sequences: 1 });
    const many = Array.from({ length: 40 }, (_, seed) =>
      post(hasty, "/v1/completions", { model: "toy", prompt: "cut", max_tokens: 250, seed }).catch(() => null),
    );
    while ((await metric(hasty, "stillroom_requests_in_flight")) < 40) await setImmediate();
    await hasty.close();
    expect((await Promise.all(many)).filter((one) => one?.status !== 200).length).toBeGreaterThan(0);
  });
});
