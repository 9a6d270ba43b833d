// The look-up trial: single answers by the text that asks, one after the other, from our store and from a peer, taking turns. Each side fills its own first.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { LookupJob } from "./lookup-turn.js";
import { type Machine, machine } from "./machine.js";
import { type Measured, measured } from "./numbers.js";
import { peerProgram } from "./setup.js";
import { type LookupDone, Side, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";

export interface LookupBenchOptions {
  peer: "sqlite" | "redis" | "none";
  keys: number;
  lookups: number;
  repeat: number;
  seed: number;
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

export interface LookupBench {
  trial: "lookup";
  machine: Machine;
  keys: number;
  lookups_of_turn: number;
  ours: LookupSide;
  peer: (LookupSide & { name: string }) | null;
  /** Ours over the peer's lookups_per_second (medians). */
  ratio: number | null;
  spread: { low: number; high: number } | null;
  /** Both sides gave the same answer to every key. */
  equal: boolean | null;
}

export async function benchLookup(options: LookupBenchOptions, { say, signal }: TrialSession): Promise<LookupBench> {
  const { peer, keys, lookups, seed, repeat } = options;
  const program = peer === "none" ? null : peerProgram(peer); // one that is missing is told before any work
  const facts = await machine(1);
  const folder = await mkdtemp(path.join(tmpdir(), "stillroom-bench-"));
  const sides: Side<LookupDone>[] = [];
  const taken = withSides(sides, signal, async () => {
    const start = async (name: string, script: string, ...more: string[]) => {
      const job: LookupJob = { folder: path.join(folder, name), keys, lookups, seed };
      const file = path.join(folder, `${name}.json`);
      await mkdir(job.folder);
      await writeFile(file, JSON.stringify(job));
      const side = new Side<LookupDone>(name, process.execPath, [
        fileURLToPath(new URL(script, import.meta.url)),
        file,
        ...more,
      ]);
      sides.push(side);
      say(`${name} is filled with ${keys} answers`);
      return side.ready();
    };
    const readies = [await start("stillroom", "./ours-lookup.js")];
    if (program !== null) readies.push(await start(peer, `./${peer}-lookup.js`, program));
    const turns = sides.map((): LookupDone[] => []);
    for (let turn = 0; turn <= repeat; turn++) {
      for (const [number, side] of sides.entries()) turns[number]!.push(await side.step());
      const told = turns.map((steps) => `${(steps.at(-1)!.p50 * 1e6).toFixed(1)} µs`);
      say(`${turn === 0 ? "warm-up" : "timed"} turn ${turn + 1}: half of ours within ${told.join(", of the peer's ")}`);
    }
    const results: LookupSide[] = [];
    for (const [number, side] of sides.entries()) {
      const { versions, settings = {} } = readies[number]!;
      const { peak_memory_bytes } = await side.done();
      results.push({ ...sideOf(turns[number]!.slice(1)), peak_memory_bytes, versions, settings });
    }
    const base = { trial: "lookup" as const, machine: facts, keys, lookups_of_turn: lookups, ours: results[0]! };
    const [ours, other] = turns;
    if (!other) return { ...base, peer: null, ratio: null, spread: null, equal: null };
    const ratios = measured(ours!.slice(1).map((step, turn) => rate(step) / rate(other[turn + 1]!)));
    return {
      ...base,
      peer: { ...results[1]!, name: peer },
      ratio: results[0]!.lookups_per_second.median / results[1]!.lookups_per_second.median,
      spread: { low: ratios.low, high: ratios.high },
      equal: ours!.every(({ answers }, turn) => answers === other[turn]!.answers),
    };
  });
  return taken.finally(() => rm(folder, { recursive: true, force: true }));
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
