// Files and batches through the official client: the way of a file, what a restart goes on with, and ids that are none of ours.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import type OpenAI from "openai";
import { toFile } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Server } from "../../src/serve/index.js";
import { chat, completion, freshFolder, manyRequests } from "../batch/requests.js";
import { chatToy, clientOf, metric, post, raw, started } from "./server.js";

let server: Server;
let client: OpenAI;
let model = "";
const store = path.join(freshFolder(), "store");
beforeAll(async () => {
  model = chatToy();
  server = await started({ model, store });
  client = clientOf(server);
});
afterAll(() => server.close());

const upload = (rows: object[], to = client) =>
  toFile(Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join("")), "rows.jsonl").then((file) =>
    to.files.create({ file, purpose: "batch" }),
  );
const begin = (input_file_id: string, to = client) =>
  to.batches.create({ input_file_id, endpoint: "/v1/completions", completion_window: "24h" });
async function ended(id: string, to = client) {
  for (;;) {
    const batch = await to.batches.retrieve(id);
    if (!["validating", "in_progress", "cancelling"].includes(batch.status)) return batch;
    await setTimeout(10);
  }
}

describe("the way of a file", () => {
  it("is uploaded, answered, read and deleted; its answers are known to all", async () => {
    const rows = [completion("a", "plum"), chat("b", "pear"), completion("bad", "x", { n: 2 })];
    const file = await upload(rows);
    expect(file).toMatchObject({ object: "file", filename: "rows.jsonl", purpose: "batch", bytes: expect.any(Number) });
    expect(await (await client.files.content(file.id)).text()).toBe(
      rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
    );
    const batch = await ended((await begin(file.id)).id);
    expect(batch).toMatchObject({ status: "completed", request_counts: { total: 3, completed: 2, failed: 1 } });
    const lines = (await (await client.files.content(batch.output_file_id!)).text()).trim().split("\n");
    const answers = lines.map((line) => JSON.parse(line));
    expect(answers.map(({ custom_id }) => custom_id)).toEqual(["a", "b"]);
    const errors = await (await client.files.content(batch.error_file_id!)).text();
    expect(errors).toMatch(/n other than 1/);
    expect(errors).not.toContain(store);
    const body = { model: "toy", prompt: "plum", max_tokens: 4, temperature: 0 };
    const live = await client.completions.create(body).withResponse();
    expect(live.response.headers.get("x-stillroom-cache")).toBe("hit");
    expect(live.data.choices).toEqual(answers[0].response.body.choices);
    const listed: string[] = [];
    for await (const one of client.files.list({ limit: 1 })) listed.push(one.id);
    expect(listed.sort()).toEqual([file.id, batch.output_file_id, batch.error_file_id].sort());
    expect((await client.batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
    expect(await client.files.delete(file.id)).toMatchObject({ deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404 });
    // Not the first page again: who follows pages would never end.
    await expect(client.files.list({ after: file.id })).rejects.toMatchObject({ status: 400, param: "after" });
  });

  it("a batch is cancelled, and one that waits as well", async () => {
    const file = await upload(manyRequests(3000, 4));
    const [first, second] = [await begin(file.id), await begin(file.id)];
    await client.batches.cancel(second.id);
    await client.batches.cancel(first.id);
    expect([(await ended(first.id)).status, (await ended(second.id)).status]).toEqual(["cancelled", "cancelled"]);
    await expect(client.batches.cancel(first.id)).rejects.toMatchObject({ status: 409 });
  });

  it("a server that was stopped goes on with its batches when it starts again", async () => {
    const place = path.join(freshFolder(), "store");
    const one = await started({ model, store: place });
    const file = await upload(manyRequests(1500, 5), clientOf(one));
    const batch = await begin(file.id, clientOf(one));
    while ((await clientOf(one).batches.retrieve(batch.id)).request_counts!.completed === 0) await setTimeout(5);
    await one.close();
    const two = await started({ model, store: place });
    expect(await ended(batch.id, clientOf(two))).toMatchObject({
      status: "completed",
      request_counts: { total: 1500, failed: 15 },
    });
    await two.close();
  });
});

it("what a killed server had begun to write is gone at the next start, what another writes is not", async () => {
  const files = path.join(freshFolder(), "files");
  mkdirSync(files);
  const begun = (pid: number) => `file-${"0".repeat(24)}.${pid}-0123abcd.tmp`;
  for (const pid of [2 ** 31 - 1, process.ppid]) writeFileSync(path.join(files, begun(pid)), "half");
  const next = await started({ model, files });
  expect(readdirSync(files)).toEqual([begun(process.ppid)]);
  await next.close();
});

describe("what is refused", () => {
  it.each(["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "file-xyz", `file-${"0".repeat(24)}`, "%00"])(
    "the id %s",
    async (id) => {
      for (const at of [`/v1/files/${id}`, `/v1/files/${id}/content`, `/v1/batches/${id}`])
        expect(await raw(server, `GET ${at} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)).toMatch(
          /^HTTP\/1\.1 404 [\s\S]*"error"/,
        );
    },
  );

  it("uploads that are none, too large, or end early leave nothing", async () => {
    const small = await started({ model, maxUpload: 1000 });
    const form = (fields: Record<string, string | Blob>) => {
      const made = new FormData();
      for (const [name, value] of Object.entries(fields)) made.append(name, value);
      return fetch(`${small.url}/v1/files`, { method: "POST", body: made });
    };
    const blob = (bytes: number) => new Blob([Buffer.alloc(bytes, "a")]);
    expect((await form({ purpose: "batch", file: blob(500_000) })).status).toBe(413);
    expect((await form({ purpose: "batch", file: blob(1001) })).status).toBe(413);
    expect((await form({ purpose: "fine-tune", file: blob(10) })).status).toBe(400);
    expect((await form({ purpose: "batch" })).status).toBe(400);
    expect((await post(small, "/v1/files", {})).status).toBe(400);
    const head = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n";
    const part = '--x\r\ncontent-disposition: form-data; name="file"; filename="../../a"\r\n\r\nabc';
    const whole = `${part}\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n`;
    const sent = (body: string) =>
      raw(small, `${head}content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
    expect(await sent(part)).toMatch(/^HTTP\/1\.1 400 /);
    const { folder } = (small as unknown as { store: { folder: string } }).store;
    expect(readdirSync(path.join(folder, "files"))).toEqual([]);
    expect(await sent(whole)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"filename":"a"/);
    const names = readdirSync(path.join(folder, "files")).sort();
    expect(names).toHaveLength(2);
    expect(readFileSync(path.join(folder, "files", names[0]!), "utf8")).toBe("abc");
    await small.close();
  });

  it.each([
    ["no such file", { input_file_id: `file-${"0".repeat(24)}` }, 404],
    ["a path", { input_file_id: "/etc/passwd" }, 404],
    ["another endpoint", { endpoint: "/v1/images" }, 400],
    ["an unknown field", { windows: 1 }, 400],
  ])("a batch of %s", async (_name, given, status) => {
    const body = { input_file_id: "file-x", endpoint: "/v1/completions", completion_window: "24h", ...given };
    expect((await post(server, "/v1/batches", body)).status).toBe(status);
    expect(await metric(server, 'stillroom_requests_total{route="/v1/batches",status="500"}')).toBe(0);
  });
});
