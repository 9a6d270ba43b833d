// What a head of the task's own learns: its outputs, the targets of rows, standardised where they are numbers, and the weights of labels.
import { type Head, kindOfLoss } from "../adapter/index.js";
import { labelsOfSet, type Row } from "../dataset/index.js";
import type { Label } from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativeHeadOptions } from "../support/native.js";
import { counted } from "../support/words.js";
import type { Task } from "../task/index.js";
import type { TuneSettings } from "../train/index.js";

/** What of a run's settings makes its head. */
export type HeadSettings = Pick<TuneSettings, "head" | "quantiles" | "huberDelta" | "classWeights">;

/** The head of a run; null without one. Throws "usage" for a loss that is not of the task's kind, "input" for rows that teach nothing. */
export function headFor(
  task: Task,
  rows: readonly Row[],
  labels: readonly Label[],
  settings: Partial<HeadSettings>,
): Head | null {
  const { head: loss = null, quantiles = null, huberDelta = null, classWeights = null } = settings;
  if (loss === null) return null;
  if (task.kind !== kindOfLoss[loss]) {
    const losses = Object.entries(kindOfLoss).filter(([, kind]) => kind === task.kind);
    const names = losses.map(([name]) => `"${name}"`).join(" or ");
    throw unexpected(`${names || "no head"} of kind ${task.kind}`, "head", loss);
  }
  if (loss === "softmax" || loss === "sigmoid") {
    const least = loss === "softmax" ? 2 : 1;
    if (labels.length < least)
      throw unexpected(
        `at least ${counted(least, "label")}`,
        `answer.labels of the task ${task.name}`,
        labels.length,
        "input",
      );
    const texts = labels.map(({ text }) => text);
    const weigh = loss === "softmax" ? balanced : balancedSets;
    const parameters = classWeights === null ? [] : weigh(rows, texts);
    return { task: task.name, loss, parameters, labels: texts, centre: 0, scale: 1 };
  }
  const numbers = rows.map(({ answer }) => Number(answer));
  const centre = mean(numbers);
  const scale = Math.sqrt(mean(numbers.map((number) => (number - centre) ** 2)));
  if (!(scale > 0))
    throw new StillroomError(
      "input",
      `all training rows of ${task.name} have the answer ${centre}: there is nothing to learn`,
    );
  const parameters = quantiles ?? (huberDelta === null ? [] : [huberDelta]);
  return { task: task.name, loss, parameters, labels: null, centre, scale };
}

/** A head as the engine trains it. */
export function nativeHead({ loss, labels, parameters }: Head): NativeHeadOptions {
  const outputs = labels?.length ?? (loss === "pinball" ? parameters.length : 1);
  return { outputs, loss, parameters: Float32Array.from(parameters) };
}

/** What a head should give for a row; a text: why it cannot. */
export function targetFor({ loss, labels, centre, scale }: Head): (row: Row) => number[] | string {
  if (labels === null) return ({ answer }) => [(Number(answer) - centre) / scale];
  const places = new Map(labels.map((text, place) => [text, place]));
  const none = (answer: string) => `the answer ${JSON.stringify(answer)} is none of the ${labels.length} labels`;
  if (loss === "softmax") return ({ answer }) => (places.has(answer) ? [places.get(answer)!] : none(answer));
  return ({ answer }) => {
    const own = new Set(labelsOfSet(answer));
    const stray = [...own].find((label) => !places.has(label));
    return stray === undefined ? labels.map((label) => Number(own.has(label))) : none(stray);
  };
}

/** rows / (labels × rows of the label), as scikit-learn's "balanced"; 1 for a label without rows. */
function balanced(rows: readonly Row[], texts: readonly string[]): number[] {
  return texts.map((text) => {
    const own = rows.filter(({ answer }) => answer === text).length;
    return own === 0 ? 1 : rows.length / (texts.length * own);
  });
}

/** Rows without the label / rows with it, as PyTorch's pos_weight; 1 for a label that no row or every row has. */
function balancedSets(rows: readonly Row[], texts: readonly string[]): number[] {
  const sets = rows.map(({ answer }) => new Set(labelsOfSet(answer)));
  return texts.map((text) => {
    const own = sets.filter((set) => set.has(text)).length;
    return own === 0 || own === rows.length ? 1 : (rows.length - own) / own;
  });
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
