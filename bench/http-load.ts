// Load on a look-up server from outside: wrk asks for keys at random, over connections that stay open. Knows no store.
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { StillroomError } from "../src/index.js";
import { sha256Of, textOf } from "./lookup-turn.js";
import type { LookupDone } from "./side.js";

export interface HttpLoad {
  /** Requests under way at once, each over its own connection. */
  connections: number;
  /** Of a turn. */
  seconds: number;
}

/** wrk's own language. Counts every response that is not a 200 as an error. */
const script = (before: string, after: string) => `
local keys
function init(arguments)
  keys = tonumber(arguments[1])
  math.randomseed(tonumber(arguments[2]))
end
function request()
  local body = ${JSON.stringify(before)} .. math.random(0, keys - 1) .. ${JSON.stringify(after)}
  return wrk.format("POST", "/v1/lookup", { ["content-type"] = "application/json" }, body)
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local line = 'RESULT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"failed":%d}\\n'
  io.write(line:format(summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
`;

/** A turn of load on a server: one thread of wrk, keys of its own seed. Throws "internal" where a request failed. */
export async function httpTurn(
  wrk: string,
  url: string,
  folder: string,
  load: HttpLoad & { keys: number; seed: number },
  signal: AbortSignal,
): Promise<LookupDone> {
  const file = path.join(folder, "load.lua");
  const [before, after] = JSON.stringify({ key: textOf(0) }).split("0") as [string, string];
  await writeFile(file, script(before, after));
  const { connections, seconds, keys, seed } = load;
  const settings = [
    "-t",
    "1",
    "-c",
    `${connections}`,
    "-d",
    `${seconds}s`,
    "-s",
    file,
    url,
    "--",
    `${keys}`,
    `${seed}`,
  ];
  const { stdout } = await promisify(execFile)(wrk, settings, { signal });
  const told = /^RESULT (.*)$/m.exec(stdout)?.[1];
  if (told === undefined) throw new StillroomError("internal", `wrk told no result:\n${stdout}`);
  const { requests, microseconds, p50, p99, failed } = JSON.parse(told) as Record<string, number>;
  if (failed! > 0) throw new StillroomError("internal", `${failed} of ${requests} requests to ${url} failed`);
  const times = { seconds: microseconds! / 1e6, p50: p50! / 1e6, p99: p99! / 1e6 };
  return { event: "step", lookups: requests!, ...times, answers: "" };
}

/** SHA-256 over a server's answers to these keys. */
export async function httpAnswers(url: string, numbers: Iterable<number>): Promise<string> {
  const answers: string[] = [];
  for (const number of numbers) {
    const response = await fetch(`${url}/v1/lookup`, { method: "POST", body: JSON.stringify({ key: textOf(number) }) });
    answers.push(((await response.json()) as { answer: string }).answer);
  }
  return sha256Of(answers);
}
