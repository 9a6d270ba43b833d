// The program as a service: thousands of requests leave memory, descriptors and threads as they were, and SIGTERM ends it in time.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { toFile } from "openai";
import { expect, it } from "vitest";
import type { Server } from "../../src/serve/index.js";
import { manyRequests } from "../batch/requests.js";
import { chatToy, clientOf, metric, post } from "./server.js";

it.skipIf(process.platform !== "linux")(
  "stays as it is over thousands of requests, logs no prompt, and stops at SIGTERM",
  async () => {
    const store = path.join(mkdtempSync(path.join(os.tmpdir(), "stillroom-soak-")), "store");
    const args = [
      "dist/bin/stillroom.js",
      "serve",
      "--store",
      store,
      "--model",
      chatToy(),
      "--port",
      "0",
      "--threads",
      "1",
      "--json",
    ];
    const child = spawn(process.execPath, ["--max-semi-space-size=4", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    const { url, model } = JSON.parse(line) as { url: string; model: string };
    expect(model).toBe("text-toy");
    const server = { url } as Server;
    const round = async (number: number, count: number) => {
      for (let at = 0; at < count; at += 20) {
        const some = Array.from({ length: 20 }, async (_, one) => {
          const prompt = `secret ${number} ${(at + one) % 300}`;
          if (one % 3 === 0) return post(server, "/v1/lookup", { key: prompt });
          if (one % 3 === 1) return post(server, "/v1/completions", { model, prompt, max_tokens: 4 });
          const controller = new AbortController();
          const body = JSON.stringify({ model, prompt, max_tokens: 200, stream: true });
          const asked = await fetch(`${url}/v1/completions`, { method: "POST", body, signal: controller.signal });
          await asked.body!.getReader().read();
          return controller.abort();
        });
        await Promise.all(some);
      }
    };
    const state = () => {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)![1]);
      return {
        memory: field("RssAnon") * 1024,
        threads: field("Threads"),
        files: readdirSync(`/proc/${child.pid}/fd`).length,
      };
    };
    await round(0, 2000);
    const before = state();
    await round(1, 2000);
    const after = state();
    expect(after.threads).toBe(before.threads);
    // Sockets that the client keeps open come and go.
    expect(Math.abs(after.files - before.files)).toBeLessThan(60);
    expect(after.memory - before.memory).toBeLessThan(40 * 2 ** 20);
    // In the midst of a batch that takes longer, and of answers one behind the other.
    const client = clientOf(server);
    const rows = manyRequests(20_000).map((row) => `${JSON.stringify(row)}\n`);
    const file = await client.files.create({
      file: await toFile(Buffer.from(rows.join("")), "rows.jsonl"),
      purpose: "batch",
    });
    const batch = { input_file_id: file.id, endpoint: "/v1/completions", completion_window: "24h" } as const;
    const { id } = await client.batches.create(batch);
    while ((await client.batches.retrieve(id)).status === "validating") await setTimeout(5);
    let ended = false;
    const lane = async (first: number) => {
      for (let seed = first; !ended; seed += 50)
        await post(server, "/v1/completions", { model, prompt: "last", max_tokens: 200, seed }).catch(() => {
          ended = true;
        });
    };
    const lanes = Promise.all(Array.from({ length: 50 }, (_, first) => lane(first)));
    while ((await metric(server, "stillroom_requests_in_flight")) < 20) await setTimeout(5);
    const told = performance.now();
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    expect(performance.now() - told).toBeLessThan(10_000);
    await lanes;
    expect(code).toBe(0);
    expect(log).toContain('"msg":"stopped"');
    expect(log).not.toContain("secret");
  },
  120_000,
);
