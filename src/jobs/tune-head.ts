// What a head of the task's own learns: its outputs, the targets of rows, standardised where they are numbers, and the weights of labels.
import type { Head } from "../adapter/index.js";
import type { Row } from "../dataset/index.js";
import type { Label } from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { NativeHeadOptions } from "../support/native.js";
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
  const kind = loss === "softmax" ? "classify" : "regress";
  if (task.kind !== kind) throw unexpected(`a loss for kind ${task.kind}`, "head", loss);
  if (loss === "softmax") {
    if (labels.length < 2)
      throw unexpected("at least two labels", `answer.labels of the task ${task.name}`, labels.length, "input");
    const texts = labels.map(({ text }) => text);
    const parameters = classWeights === null ? [] : balanced(rows, texts);
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
export function targetFor({ labels, centre, scale }: Head): (row: Row) => number | string {
  if (labels === null) return ({ answer }) => (Number(answer) - centre) / scale;
  const places = new Map(labels.map((text, place) => [text, place]));
  return ({ answer }) => {
    return places.get(answer) ?? `the answer ${JSON.stringify(answer)} is none of the ${labels.length} labels`;
  };
}

/** rows / (labels × rows of the label), as scikit-learn's "balanced"; 1 for a label without rows. */
function balanced(rows: readonly Row[], texts: readonly string[]): number[] {
  return texts.map((text) => {
    const own = rows.filter(({ answer }) => answer === text).length;
    return own === 0 ? 1 : rows.length / (texts.length * own);
  });
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
