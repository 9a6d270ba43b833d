// What decides the bytes of a run, and the sentence when a resumed run would differ in it.
import { createHash } from "node:crypto";
import { StillroomError } from "../support/errors.js";
import type { Fingerprint } from "./checkpoint.js";
import type { TuneSettings } from "./options.js";
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

/** Throws "usage" naming what differs between a checkpoint's fingerprint and this run's, whose steps may follow from its epochs. */
export function requireSameRun(
  found: Fingerprint,
  now: Fingerprint,
  folder: string,
  epochs: number | null = null,
): void {
  const [before, after] = [flat(found), flat(now)];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const differing = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  if (differing.length === 0) return;
  const follows = (name: string) => name === "steps" && epochs !== null;
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
