// A server without a model: look-ups, health, metrics, who may ask, and what is refused before any work.
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Server } from "../../src/serve/index.js";
import type { Store } from "../../src/store/index.js";
import { freshFolder } from "../batch/requests.js";
import { maker } from "../store/make.js";
import { writeTextToy } from "../support/text_toy.js";
import { knownStore, metric, post, raw, started } from "./server.js";

let server: Server;
let store = "";
beforeAll(async () => {
  store = await knownStore();
  server = await started({ store });
});
afterAll(() => server.close());

const hit = { hit: true, answer: "a drupe", made_by: maker, probabilities: null, ended: "end" };

describe("look-ups", () => {
  it("have the fields of the program's", async () => {
    expect((await post(server, "/v1/lookup", { key: "is a PLUM a drupe" })).json).toEqual({
      key: "is a PLUM a drupe",
      ...hit,
    });
    const { json } = await post(server, "/v1/lookup", { keys: ["Is a plum a drupe?", "Pear"] });
    expect(json.answers).toMatchObject([hit, { key: "Pear", hit: false, answer: null }]);
    expect(await metric(server, 'stillroom_lookups_total{result="miss"}')).toBe(1);
    expect(await metric(server, 'stillroom_requests_total{route="/v1/lookup",status="200"}')).toBe(2);
  });

  it("find what another process's batch writes meanwhile", async () => {
    expect((await post(server, "/v1/lookup", { key: "question 5" })).json.hit).toBe(false);
    execFileSync(process.execPath, [path.resolve("dist/tests/store/store_child.js"), "write", store, "0", "200"]);
    expect((await post(server, "/v1/lookup", { key: "question 5" })).json).toMatchObject({ answer: "answer 5" });
  });

  it("health is told, and completions need a model", async () => {
    expect(await (await fetch(`${server.url}/healthz`)).json()).toEqual({ status: "ok" });
    expect(await post(server, "/v1/chat/completions", {})).toMatchObject({
      status: 404,
      json: { error: { code: "no_model" } },
    });
    expect(await (await fetch(`${server.url}/v1/models`)).json()).toEqual({ object: "list", data: [] });
  });
});

describe("bad requests are errors in OpenAI's shape", () => {
  it.each<[string, string, unknown, number, string | null]>([
    ["no JSON", "/v1/lookup", "{", 400, "invalid_json"],
    ["NaN", "/v1/lookup", '{"key": NaN}', 400, "invalid_json"],
    ["a list", "/v1/lookup", "[]", 400, "invalid_json"],
    ["deep nesting", "/v1/lookup", "[".repeat(100_000), 400, null],
    ["no key", "/v1/lookup", {}, 400, null],
    ["a number as key", "/v1/lookup", '{"key": 1e999}', 400, null],
    ["an unknown field", "/v1/lookup", { key: "a", kye: "b" }, 400, null],
    ["no such route", "/v1/images", {}, 404, "unknown_url"],
    ["no such method", "/v1/models", {}, 405, null],
  ])("%s", async (_name, at, body, status, code) => {
    const found = await post(server, at, body);
    expect(found.status).toBe(status);
    expect(found.json).toEqual({
      error: {
        message: expect.any(String),
        type: "invalid_request_error",
        param: expect.toBeOneOf([null, expect.any(String)]),
        code,
      },
    });
  });

  it("a body of 100 MB is refused, told or not how long it is, and memory stays", async () => {
    const long = `POST /v1/lookup HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${100 << 20}\r\nconnection: close\r\n\r\n`;
    expect(await raw(server, long)).toMatch(/^HTTP\/1\.1 413 /);
    const before = process.memoryUsage().rss;
    const piece = Buffer.alloc(1 << 20, "a");
    let sent = 0;
    const body = new ReadableStream({ pull: (to) => (sent++ < 100 ? to.enqueue(piece) : to.close()) });
    const chunked = await fetch(`${server.url}/v1/lookup`, { method: "POST", body, duplex: "half" } as RequestInit);
    expect(await chunked.json()).toMatchObject({ error: { code: "body_too_large" } });
    expect(process.memoryUsage().rss - before).toBeLessThan(60 * 2 ** 20);
  });

  it("what is no HTTP gets one too", async () => {
    expect(await raw(server, "plum\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 [\s\S]*"the request is not HTTP"/);
  });

  it("a request that does not come in time gets 408", async () => {
    const impatient = await started({ store, requestTimeout: 1 });
    const out = await raw(impatient, "POST /v1/lookup HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{");
    expect(out).toMatch(/^HTTP\/1\.1 408 /);
    await impatient.close();
  });
});

describe("who may ask", () => {
  const get = (host: string, more = "") =>
    raw(server, `GET /healthz HTTP/1.1\r\nhost: ${host}\r\n${more}connection: close\r\n\r\n`);

  it("another server's name in Host is refused, addresses and localhost are not", async () => {
    expect(await get("evil.example")).toMatch(/^HTTP\/1\.1 421 [\s\S]*wrong_host/);
    expect(await get("localhost.evil.example:80")).toMatch(/^HTTP\/1\.1 421 /);
    expect(await get("")).toMatch(/^HTTP\/1\.1 4/);
    for (const host of ["localhost:1", "127.0.0.1", "[::1]:80"]) expect(await get(host)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await get("localhost", "origin: https://evil.example\r\n")).toMatch(/^HTTP\/1\.1 403 /);
    expect(await get("localhost", "origin: http://localhost:3000\r\n")).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("with tokens, who shows none is refused", async () => {
    const file = path.join(freshFolder(), "tokens");
    writeFileSync(file, "# ours\n0123456789abcdef Ada\nfedcba9876543210\n");
    const guarded = await started({ store, tokens: file });
    const ask = (authorization?: string) =>
      post(guarded, "/v1/lookup", { key: "Is a plum a drupe?" }, authorization ? { authorization } : {});
    expect(await ask()).toMatchObject({
      status: 401,
      json: { error: { type: "authentication_error", code: "invalid_api_key" } },
    });
    expect((await ask("Bearer 0123456789abcdeg")).status).toBe(401);
    for (const token of ["0123456789abcdef", "fedcba9876543210"])
      expect((await ask(`Bearer ${token}`)).status).toBe(200);
    expect((await fetch(`${guarded.url}/metrics`)).status).toBe(401);
    expect((await fetch(`${guarded.url}/healthz`)).status).toBe(200);
    await guarded.close();
  });

  it("a host for all needs tokens, or a word that says so", async () => {
    await expect(started({ store, host: "0.0.0.0" })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/tokens/),
    });
    const open = await started({ store, host: "0.0.0.0", open: true });
    await open.close();
  });

  it.each([
    ["no store", { store: "/none" }, "missing", /there is no store/],
    ["an unknown option", { prot: 1 } as never, "usage", /did you mean port/],
    ["no tokens", { tokens: "/none" }, "missing", /file of tokens/],
    ["an adapter alone", { adapter: "a" }, "usage", /model for adapter/],
  ])("%s is an error at the start", async (_name, given, code, message) => {
    await expect(started({ store, ...given })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

it("close is one promise, frees the port, and leaves the store free", async () => {
  const one = await started({ store });
  await expect(started({ store, port: Number(new URL(one.url).port) })).rejects.toMatchObject({
    message: expect.stringMatching(/listens there/),
  });
  // With a model as well, and no store is begun for it.
  const begun = path.join(freshFolder(), "store");
  const taken = started({ store: begun, model: writeTextToy(), port: Number(new URL(one.url).port) });
  await expect(taken).rejects.toMatchObject({ code: "usage" });
  expect(existsSync(begun)).toBe(false);
  expect(one.close()).toBe(one.close());
  await one.closed;
  await expect(fetch(one.url)).rejects.toThrow();
  expect(() => (one as unknown as { store: Store }).store.lookup("plum")).toThrow(/is closed/);
});
