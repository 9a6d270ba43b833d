// What decides the bytes of a run, and the sentence when a resumed run would differ in it.
import { createHash } from "node:crypto";
import { StillroomError } from "../support/errors.js";
import type { Fingerprint } from "./checkpoint.js";
import type { TuneOptions, TuneSettings } from "./options.js";
import type { RunPlan } from "./plan.js";

/** The options and hashes that decide the bytes of a run. Threads and kernel variant are not in it: a run may move to another machine, with a warning. */
export function fingerprintOf(
  settings: TuneSettings,
  plan: RunPlan,
  hashes: { model: string; rows: string; validation: string | null },
): Fingerprint {
  const { batchSize, rank, alpha, dropout, rsLora, targets, weightDecay, betas, epsilon, clipNorm } = settings;
  const { steps, schedule, tokenBudget, recompute, maxLength, evaluateEvery } = plan;
  const { seed, sharePrefix, patience, precision, method, layers } = settings;
  const head = settings.head === null ? {} : headOf(settings);
  const trained = { method, rank, alpha, dropout, rsLora, targets, layers, ...head };
  const optimizer = { optimizer: settings.optimizer, weightDecay, betas, epsilon, clipNorm };
  const course = { batchSize, steps, schedule, tokenBudget, recompute, maxLength, evaluateEvery };
  return { ...hashes, ...trained, ...optimizer, ...course, seed, sharePrefix, patience, precision };
}

function headOf({ head, quantiles, huberDelta, classWeights }: TuneSettings): Partial<TuneSettings> {
  return { head, quantiles, huberDelta, classWeights };
}

/** What follows from other options, rows or the machine's memory where it is not given. */
const derived = ["steps", "warmup", "evaluateEvery", "tokenBudget", "recompute", "maxLength"];

/** Throws "usage" naming what differs between a checkpoint's fingerprint and this run's, but for what only follows from other differences. given: the options that this call gives. */
export function requireSameRun(found: Fingerprint, now: Fingerprint, folder: string, given: TuneOptions): void {
  const [before, after] = [flat(found), flat(now)];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const all = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  if (all.length === 0) return;
  const { epochs } = given;
  const follows = (name: string) => name === "steps" && epochs !== undefined;
  const isGiven = (name: string) => follows(name) || given[name as keyof TuneOptions] !== undefined;
  const causes = all.filter((name) => !derived.includes(name) || isGiven(name));
  const differing = causes.length > 0 ? causes : all;
  const list = differing.map((name) => {
    const here = `${JSON.stringify(after[name])} here${follows(name) ? `, of epochs ${epochs}` : ""}`;
    return `${name} (${JSON.stringify(before[name])} there, ${here})`;
  });
  throw new StillroomError("usage", `${folder} cannot be resumed: it was begun with other ${list.join(", ")}`, {
    options: differing.map((name) => (follows(name) ? "epochs" : name)),
  });
}

/** The fields of the schedule one by one, each by the name of its option. */
function flat({ schedule, ...rest }: Fingerprint): Fingerprint {
  const { name, ...fields } = (schedule ?? {}) as Record<string, unknown>;
  return { ...rest, schedule: name, ...fields };
}

/** SHA-256 over rows of tokens, lengths included, and over what a head should give for them. */
export function hashRows(
  rows: Iterable<{ prompt: Int32Array; answer: Int32Array; target?: readonly number[] }>,
): string {
  const hash = createHash("sha256");
  for (const { prompt, answer, target } of rows) {
    hash.update(Int32Array.of(prompt.length, answer.length));
    hash.update(prompt);
    hash.update(answer);
    if (target !== undefined) hash.update(Float64Array.from(target));
  }
  return hash.digest("hex");
}
