// The best of many draws of examples, and of their orders, within a budget of prompts: many are scored on few rows, the better half of them on twice as many,
// and so on (successive halving: Jamieson and Talwalkar 2016).
import type { Row } from "../dataset/index.js";
import { evaluateRows, summarise } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import { Random } from "../support/random.js";
import { isError } from "../task/index.js";
import { type Bench, type Candidate, fitOf, fitsEnough, jobOf } from "./prompt-bench.js";

const mostDraws = 32;
/** Fewer rows than this tell nothing of a prompt. */
const leastRows = 8;

/**
 * Half of the budget goes into draws from the pool, the other into orders of the best one. Throws "input" where too few rows are left to judge by.
 *
 * @param seekers - rows that judge
 * @param candidateOf - a prompt with these examples in this order
 * @param drawn - examples drawn by a seed
 */
export async function searchExamples(
  bench: Bench,
  seekers: readonly Row[],
  candidateOf: (examples: Row[]) => Candidate,
  drawn: (seed: number) => Row[],
): Promise<Row[]> {
  const { settings } = bench;
  if (seekers.length < leastRows)
    throw new StillroomError(
      "input",
      `search needs at least ${leastRows} training rows beyond pool and limit, received ${seekers.length}; make pool smaller`,
    );
  const random = new Random(settings.seed, 1);
  const rows = random.shuffle([...seekers]);
  const budget = Math.floor(settings.budget / 2);
  const score = (examples: readonly Row[], count: number) =>
    scoreOf(bench, candidateOf([...examples]), rows.slice(0, count));
  const draws = Array.from({ length: drawsFor(budget) }, (_, draw) => {
    return drawn(settings.seed + draw);
  });
  const best = await halve(draws, budget, rows.length, score);
  const orders = [best, ...Array.from({ length: drawsFor(budget) - 1 }, () => random.shuffle([...best]))];
  const distinct = new Map(orders.map((order) => [order.map((row) => best.indexOf(row)).join(","), order]));
  return halve([...distinct.values()], budget, rows.length, score);
}

/** The most, as a power of two, that leave each a number of rows to be scored on in the first round. */
function drawsFor(budget: number): number {
  let draws = 2;
  while (2 * draws <= mostDraws && budget / (Math.log2(2 * draws) * 2 * draws) >= leastRows) draws *= 2;
  return draws;
}

async function halve(
  given: readonly Row[][],
  budget: number,
  mostRows: number,
  score: (examples: readonly Row[], rows: number) => Promise<number[]>,
): Promise<Row[]> {
  let left = [...given];
  const perRound = budget / Math.max(1, Math.ceil(Math.log2(left.length)));
  while (left.length > 1) {
    const rows = Math.min(mostRows, Math.max(leastRows, Math.floor(perRound / left.length)));
    const scored: { examples: Row[]; value: number[] }[] = [];
    for (const examples of left) scored.push({ examples, value: await score(examples, rows) });
    scored.sort((a, b) => b.value[0]! - a.value[0]! || b.value[1]! - a.value[1]!);
    left = scored.slice(0, Math.ceil(left.length / 2)).map(({ examples }) => examples);
  }
  return left[0]!;
}

/** Higher is better: the task's metric, and of equals the one that is surer of the answers. */
async function scoreOf(bench: Bench, candidate: Candidate, rows: readonly Row[]): Promise<number[]> {
  const { task } = candidate;
  const job = await jobOf(bench, candidate, rows);
  if (!fitsEnough(fitOf(job).rows.length, rows.length)) return [Number.NEGATIVE_INFINITY, 0];
  const scores = await evaluateRows(job);
  const { metrics } = summarise(task, scores.rows, bench.labels, bench.settings.seed);
  const { value } = metrics[task.metric]!;
  return [isError(task.metric) ? -value : value, -(metrics.log_loss?.value ?? 0)];
}
