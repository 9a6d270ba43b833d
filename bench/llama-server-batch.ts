// llama-server's side of the batch trial: a request a row over connections that stay open, as many under way as it has slots and one more; one token, greedy, of which only
// the labels' can win. node dist/bench/llama-server-batch.js JOB.json PROGRAM
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { setTimeout } from "node:timers/promises";
import type { BatchJob } from "./batch.js";
import { type Choose, fastest, playBatches } from "./batch-side.js";
import { emit } from "./side.js";

interface Settings {
  /** Slots. */
  sequences: number;
  flash_attention: "on" | "off";
}

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as BatchJob;
const program = process.argv[3]!;
const longest = job.rows.reduce((most, { prompt }) => Math.max(most, prompt.length), 0);
const port = 20_000 + (process.pid % 20_000);
const agent = new Agent({ keepAlive: true });
let server: ChildProcess | null = null;
process.once("exit", () => server?.kill());
process.once("SIGTERM", () => process.exit());

function ask(path: string, body: object | null): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const method = body === null ? "GET" : "POST";
    const headers = { "content-type": "application/json" };
    const asked = request({ host: "127.0.0.1", port, path, method, agent, headers }, (incoming) => {
      let text = "";
      incoming.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      incoming.on("end", () => resolve({ status: incoming.statusCode!, body: text }));
    });
    asked.on("error", reject);
    asked.end(body === null ? undefined : JSON.stringify(body));
  });
}

const choose: Choose = async (prompt) => {
  const wanted = { n_predict: 1, temperature: 0, cache_prompt: true, return_tokens: true };
  const logit_bias = job.labels.map(({ token }) => [token, job.bias]);
  const { status, body } = await ask("/completion", { prompt, ...wanted, logit_bias });
  if (status !== 200) throw new Error(`llama-server answered ${status}: ${body.slice(0, 200)}`);
  const [token] = (JSON.parse(body) as { tokens: number[] }).tokens;
  return job.labels.findIndex((label) => label.token === token);
};

async function open({ sequences, flash_attention }: Settings) {
  const context = sequences * Math.ceil((longest + 16) / 256) * 256;
  const threads = `${job.threads}`;
  const settings = ["-c", `${context}`, "-np", `${sequences}`, "-t", threads, "-tb", threads, "-fa", flash_attention];
  // Idle slots would be copied away and back: the prompts share their beginning only.
  const child = spawn(program, ["-m", job.model, "--port", `${port}`, ...settings, "--cache-ram", "0"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  server = child;
  let complaints = "";
  child.stderr.on("data", (text: Buffer) => {
    complaints = (complaints + text.toString()).slice(-2000);
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  for (;;) {
    if (child.exitCode !== null) throw new Error(`llama-server ended:\n${complaints}`);
    const health = await ask("/health", null).catch(() => null);
    if (health?.status === 200) break;
    await setTimeout(50);
  }
  const close = async () => {
    child.kill();
    await ended;
  };
  return { choose, close };
}

/** Of a process that runs; 0 where the system does not tell. */
function peakMemory({ pid }: ChildProcess): number {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

const settings = [1, 4, 16].flatMap((sequences) =>
  (["on", "off"] as const).map((flash_attention) => ({ sequences, flash_attention })),
);
const { best, tried } = await fastest(job, settings, open);
const { close } = await open(best);
const told = spawnSync(program, ["--version"], { encoding: "utf8" });
const version = /version: (.*)/.exec(told.stdout + told.stderr)?.[1] ?? "";
const used = { threads: job.threads, cache_prompt: true, cache_ram: 0, ...best, tried };
emit({ event: "ready", versions: { "llama-server": version }, settings: used });
await playBatches(job, choose, best.sequences + 1);
emit({ event: "done", peak_memory_bytes: peakMemory(server!) });
await close();
agent.destroy();
