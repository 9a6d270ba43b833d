// The look-up trial: single answers by the text that asks, by calls one after the other or by HTTP, from our store and from peers, taking turns. Each side
// fills its own first.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type HttpLoad, httpAnswers, httpTurn } from "./http-load.js";
import { type LookupJob, numbersOf } from "./lookup-turn.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured } from "./numbers.js";
import { peerProgram } from "./setup.js";
import { type LookupDone, Side, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";

type PeerName = "sqlite" | "redis";

export interface LookupBenchOptions {
  peer: PeerName[];
  keys: number;
  lookups: number;
  repeat: number;
  seed: number;
  /** Stores that are kept, and used again. */
  stores?: string;
  http: boolean;
  connections: number;
  seconds: number;
}

export interface LookupSide {
  /** From the text to its answer. */
  p50_seconds: Measured;
  p99_seconds: Measured;
  lookups_per_second: Measured;
  /** With many requests under way at once, where the side can; null elsewhere. */
  pipelined_per_second: Measured | null;
  peak_memory_bytes: number;
  versions: Record<string, string>;
  settings: object;
}

export interface LookupPeer extends LookupSide {
  name: PeerName;
  /** Ours over this peer's lookups_per_second (medians). */
  ratio: number;
  spread: { low: number; high: number };
  /** Both sides gave the same answer to every key; by HTTP, to a thousand of them. */
  equal: boolean;
}

export interface LookupBench {
  trial: "lookup";
  machine: Machine;
  keys: number;
  /** null by HTTP: as many as there is time for. */
  lookups_of_turn: number | null;
  /** null for calls. */
  http: (HttpLoad & { client: string }) | null;
  ours: LookupSide;
  peers: LookupPeer[];
  /** The first of the peers. */
  peer: LookupPeer | null;
  ratio: number | null;
  spread: { low: number; high: number } | null;
  equal: boolean | null;
}

/** Keys whose answers are compared where the look-ups come by HTTP. */
const compared = 1000;

export async function benchLookup(options: LookupBenchOptions, { say, signal }: TrialSession): Promise<LookupBench> {
  const { peer: peers, keys, lookups, seed, repeat, http } = options;
  // What is missing is told before any work.
  const programs = peers.map((name) => peerProgram(name));
  const wrk = http ? peerProgram("wrk") : null;
  const facts = await machine(1);
  const folder = options.stores ?? (await mkdtemp(path.join(tmpdir(), "stillroom-bench-")));
  const sides: Side<LookupDone>[] = [];
  const taken = withSides(sides, signal, async () => {
    const start = async (name: string, script: string, ...more: string[]) => {
      const job: LookupJob = { folder: path.resolve(folder, `${name}-${keys}`), keys, lookups, seed, http };
      const file = path.join(job.folder, "job.json");
      await mkdir(job.folder, { recursive: true });
      await writeFile(file, JSON.stringify(job));
      const side = new Side<LookupDone>(name, process.execPath, [
        fileURLToPath(new URL(script, import.meta.url)),
        file,
        ...more,
      ]);
      sides.push(side);
      say(`${name} is filled with ${keys} answers`);
      const ready = await side.ready();
      const { url } = ready;
      const sample = [...numbersOf({ keys, lookups: compared, seed }, 0)];
      const answers = url === undefined ? null : await httpAnswers(url, sample);
      const load = { connections: options.connections, seconds: options.seconds, keys };
      const turn = (number: number) =>
        wrk === null || url === undefined
          ? side.step()
          : httpTurn(wrk, url, folder, { ...load, seed: seed + number }, signal);
      return { side, ready, turn, answers };
    };
    const all = [await start("stillroom", "./ours-lookup.js")];
    for (const [at, name] of peers.entries()) all.push(await start(name, `./${name}-lookup.js`, programs[at]!));
    const turns = all.map((): LookupDone[] => []);
    for (let turn = 0; turn <= repeat; turn++) {
      for (const [number, one] of all.entries()) turns[number]!.push(await one.turn(turn));
      const told = turns.map((steps) => `${rate(steps.at(-1)!).toFixed(0)}`);
      const whose = ["ours", ...peers].map((name, at) => `${name} ${told[at]}`);
      say(`${turn === 0 ? "warm-up" : "timed"} turn ${turn + 1}, look-ups/s: ${whose.join(", ")}`);
    }
    const results: LookupSide[] = [];
    for (const [number, { side, ready }] of all.entries()) {
      const { versions, settings = {} } = ready;
      const { peak_memory_bytes } = await side.done();
      results.push({ ...sideOf(turns[number]!.slice(1)), peak_memory_bytes, versions, settings });
    }
    const [ours, ...others] = results;
    const made = others.map((other, at): LookupPeer => {
      const theirs = turns[at + 1]!;
      const ratios = measured(turns[0]!.slice(1).map((step, turn) => rate(step) / rate(theirs[turn + 1]!)));
      return {
        ...other,
        name: peers[at]!,
        ratio: ours!.lookups_per_second.median / other.lookups_per_second.median,
        spread: { low: ratios.low, high: ratios.high },
        equal: http
          ? all[0]!.answers === all[at + 1]!.answers
          : turns[0]!.every(({ answers }, turn) => answers === theirs[turn]!.answers),
      };
    });
    const { connections, seconds } = options;
    return {
      trial: "lookup" as const,
      machine: facts,
      keys,
      lookups_of_turn: http ? null : lookups,
      http: http ? { client: "wrk, 1 thread", connections, seconds } : null,
      ours: ours!,
      peers: made,
      peer: made[0] ?? null,
      ratio: made[0]?.ratio ?? null,
      spread: made[0]?.spread ?? null,
      equal: made.length === 0 ? null : made.every(({ equal }) => equal),
    };
  });
  return taken.finally(async () => {
    if (options.stores === undefined) await rm(folder, { recursive: true, force: true });
  });
}

const rate = ({ lookups, seconds }: LookupDone): number => lookups / seconds;

function sideOf(
  steps: LookupDone[],
): Pick<LookupSide, "p50_seconds" | "p99_seconds" | "lookups_per_second" | "pipelined_per_second"> {
  const pipelined = steps.flatMap(({ lookups, pipelined_seconds: seconds }) => (seconds ? [lookups / seconds] : []));
  return {
    p50_seconds: measured(steps.map(({ p50 }) => p50)),
    p99_seconds: measured(steps.map(({ p99 }) => p99)),
    lookups_per_second: measured(steps.map(rate)),
    pipelined_per_second: pipelined.length === 0 ? null : measured(pipelined),
  };
}
