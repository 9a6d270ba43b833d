// The on-policy trial: a student writes behind prompts, its teacher grades the tokens, and all of its weights take a step; ours and TRL's GKDTrainer by turns
// from the same student. First both take a step on the tokens that ours wrote, and the losses must agree; then each writes its own, and the times count.
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Model } from "../src/model/index.js";
import { type DistillBenchOptions, type DistillJob, distillJob, type Spread, withStudent } from "./distill.js";
import { writeJob } from "./job.js";
import type { Machine } from "./machine.js";
import { type Measured, measured } from "./numbers.js";
import { peerProgram, peerScript } from "./setup.js";
import { type Ready, Side, type SideDone, type WrittenDone, withSides } from "./side.js";
import type { TrialSession } from "./tune.js";
import { denseRows, type WorkKind, works } from "./work.js";

/** The job file that bench/ours-on-policy.ts and bench/peers/trl_on_policy.py read. */
export interface OnPolicyJob extends DistillJob {
  /** Most tokens of an answer. */
  answerTokens: number;
  /** That an answer ends at. */
  endTokens: number[];
}

/** One side. */
export interface OnPolicySide {
  steps_per_second: Measured;
  /** Tokens that were written, graded and learnt, a second. */
  answer_tokens_per_second: Measured;
  peak_memory_bytes: number;
  losses: number[];
}

export interface OnPolicyBench {
  trial: "on-policy";
  machine: Machine;
  model: { teacher: string; parameters: number; student_parameters: number };
  work: WorkKind;
  /** Of a step. */
  rows: number;
  /** Most of a prompt. */
  prompt_tokens: number;
  /** Most of an answer. */
  answer_tokens: number;
  ours: OnPolicySide & { settings: object; versions: Record<string, string> };
  peer: OnPolicySide & { name: string; version: Record<string, string>; settings: object };
  /** Ours over the peer's steps per second (medians). */
  ratio: number;
  /** Lowest and highest ratio of two steps on the same prompts. */
  spread: Spread;
  /** Of the step on the same tokens, relative. */
  loss_difference: number;
  equal: boolean;
  equal_bound: number;
}

/** Of dense rows GKDTrainer's own sizes; a task's answers are as long as its labels. */
const dense = { rowsOfStep: 8, promptTokens: 128, answerTokens: 128 };
/** One on the same tokens, and one to warm up. */
const untimed = 2;
const equalBound = 0.01;

/** The two kinds of work, as of the other trials; answers are as long as the student's may become. */
const onPolicyWorks: typeof works = {
  dense: {
    rowsOfStep: dense.rowsOfStep,
    rows: async (model, count, seed, data) => {
      const cut = await denseRows(model, count, dense.promptTokens + dense.answerTokens, { seed, data });
      return cut.map(({ tokens }) => ({ tokens, answerFrom: dense.promptTokens }));
    },
  },
  sst2: works.sst2,
};

export async function benchOnPolicy(options: DistillBenchOptions, session: TrialSession): Promise<OnPolicyBench> {
  peerProgram("pytorch"); // one that is missing is told before any work
  const jobOf = async (teacher: Model, student: string): Promise<OnPolicyJob> => {
    const { rowsOfStep, rows: rowsOf } = onPolicyWorks[options.work];
    const order = [...Array(untimed + options.repeat).keys()];
    const rows = await rowsOf(teacher, rowsOfStep * order.length, options.seed, options.data);
    const job = distillJob(teacher, student, options, { rows, rowsOfStep, order });
    const answerTokens = Math.max(...rows.map(({ tokens, answerFrom }) => tokens.length - answerFrom));
    return { ...job, answerTokens, endTokens: [...teacher.tokenizer.endTokens] };
  };
  const { job, turns, machine, model } = await withStudent(options, session, jobOf, (made, folder) =>
    takeTurns(made, folder, session),
  );
  return summary(job, turns, { machine, model, work: options.work });
}

interface Turns {
  steps: WrittenDone[];
  ready: Ready;
  done: SideDone;
}

async function takeTurns(job: OnPolicyJob, folder: string, { say, signal }: TrialSession): Promise<[Turns, Turns]> {
  const file = await writeJob(path.join(folder, "job.json"), job);
  const script = fileURLToPath(new URL("./ours-on-policy.js", import.meta.url));
  const ours = new Side<WrittenDone>("stillroom", process.execPath, [script, file]);
  const peer = new Side<WrittenDone>("trl", peerProgram("pytorch"), [peerScript("trl_on_policy.py"), file]);
  return withSides([ours, peer], signal, async () => {
    const ready = [await ours.ready(), await peer.ready()] as const;
    const steps: [WrittenDone[], WrittenDone[]] = [[], []];
    for (const index of job.steps.keys()) {
      const own = await ours.step();
      const other = await peer.step(index === 0 ? JSON.stringify(own.answers) : "");
      steps[0].push(own);
      steps[1].push(other);
      const told = [own, other].map((of) => `loss ${of.loss.toFixed(4)} in ${of.seconds.toFixed(2)} s`);
      const what = index === 0 ? "same tokens" : index < untimed ? "warm-up" : "timed";
      say(`${what}, step ${index + 1}: ours ${told.join(", peer ")}`);
    }
    return [
      { steps: steps[0], ready: ready[0], done: await ours.done() },
      { steps: steps[1], ready: ready[1], done: await peer.done() },
    ];
  });
}

function sideResult({ steps, done }: Turns): OnPolicySide {
  const timed = steps.slice(untimed);
  return {
    steps_per_second: measured(timed.map(({ seconds }) => 1 / seconds)),
    answer_tokens_per_second: measured(timed.map(({ labels, seconds }) => labels / seconds)),
    peak_memory_bytes: done.peak_memory_bytes,
    losses: steps.map(({ loss }) => loss),
  };
}

function summary(
  job: OnPolicyJob,
  [own, other]: [Turns, Turns],
  facts: Pick<OnPolicyBench, "machine" | "model" | "work">,
): OnPolicyBench {
  const [ours, peer] = [sideResult(own), sideResult(other)];
  const pairs = own.steps.map(({ seconds }, at) => other.steps[at]!.seconds / seconds).slice(untimed);
  const difference = Math.abs(ours.losses[0]! / peer.losses[0]! - 1);
  const settings = {
    ...{
      ...other.ready.settings,
      dtype: "float32",
      optimizer: "AdamW, fused",
      attention: "sdpa",
      threads: facts.machine.threads,
    },
    ...{ lmbda: 1, beta: 0, temperature: 1, gradient_checkpointing: false, key_value_cache: true },
  };
  return {
    trial: "on-policy",
    ...facts,
    rows: job.steps[0]!.rows.length,
    prompt_tokens: Math.max(...job.rows.map(({ answerFrom }) => answerFrom)),
    answer_tokens: job.answerTokens,
    ours: {
      ...ours,
      settings: { ...job.ours, topK: job.topK, precision: job.precision },
      versions: own.ready.versions,
    },
    peer: { ...peer, name: "trl", version: other.ready.versions, settings },
    ratio: ours.steps_per_second.median / peer.steps_per_second.median,
    spread: { low: Math.min(...pairs), high: Math.max(...pairs) },
    loss_difference: difference,
    equal: difference <= equalBound,
    equal_bound: equalBound,
  };
}
