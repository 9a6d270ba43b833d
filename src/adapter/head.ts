// A task's own head as a file: head.safetensors in a run's folder, its weights and what its outputs stand for. One file, so that neither is there without the other.
import { existsSync } from "node:fs";
import path from "node:path";
import { StillroomError } from "../support/errors.js";
import { isFolder } from "../support/files.js";
import type { HeadLoss, NativeLora, NativeTensor } from "../support/native.js";
import type { TaskKind } from "../task/index.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";

const HEAD_FILE = "head.safetensors";
const HEAD_KEY = "stillroom-head";
/** Names of the head's tensors, as transformers has them in a model for sequence classification. */
const WEIGHT = "score.weight";
const BIAS = "score.bias";

/** By loss, the kind of task that its heads answer. */
export const kindOfLoss: Record<HeadLoss, TaskKind> = {
  softmax: "classify",
  sigmoid: "multilabel",
  squared: "regress",
  huber: "regress",
  pinball: "regress",
};

const unitOfLoss: Record<HeadLoss, string> = {
  softmax: "nats a row",
  sigmoid: "nats a label",
  squared: "of standardised numbers",
  huber: "of standardised numbers",
  pinball: "of standardised numbers",
};

/** What the loss of a run is counted in, in words. @param head - its head's loss; nothing without one */
export function lossUnit(head: unknown): string {
  return Object.hasOwn(unitOfLoss, String(head)) ? unitOfLoss[head as HeadLoss] : "nats a label token";
}

/** What the outputs of a head stand for. */
export interface Head {
  /** The task that it was trained on. */
  task: string;
  loss: HeadLoss;
  /** Parameters of the loss; of "pinball" the quantiles' levels, rising. */
  parameters: number[];
  /** With "softmax" and "sigmoid", the text of each output's label; else null. */
  labels: string[] | null;
  /** Numbers are centre + scale × output, in the task's own units. */
  centre: number;
  scale: number;
}

/** A head with its weights. */
export interface StoredHead {
  head: Head;
  outputs: number;
  tensors: NativeTensor[];
}

/** Whether a tensor of an adapter is its head's. */
export function isHeadTensor({ name }: Pick<NativeTensor, "name">): boolean {
  return name === WEIGHT || name === BIAS;
}

/** The file that a run keeps its head in, whether or not it has one. */
export function headFile(run: string): string {
  return path.join(run, HEAD_FILE);
}

/** Writes the head of an adapter, whole or not at all, and gives the file. Throws "io". */
export async function writeHead(run: string, lora: NativeLora, head: Head): Promise<string> {
  const tensors = lora.tensors().filter(isHeadTensor);
  const metadata = { format: "pt", [HEAD_KEY]: JSON.stringify({ version: 1, ...head }) };
  await writeSafetensors(headFile(run), tensors, metadata);
  return headFile(run);
}

/** Throws "usage" for an adapter with a head, where there is no use for one; why: as it goes on after "which", options: those that it names. */
export function requireNoHead(lora: NativeLora | null, why: string, options: string[] = []): void {
  if (!lora?.options.head) return;
  throw new StillroomError("usage", `the adapter has a head of the task's own, which ${why}`, { options });
}

/** What an adapter's head means; null where it has none. Throws "input" for a damaged one. */
export async function loadHead(place: string | undefined): Promise<Head | null> {
  return place === undefined ? null : ((await readHead(place))?.head ?? null);
}

/** The head of a run; null where it has none. Throws "input" for a damaged one. */
export async function readHead(place: string): Promise<StoredHead | null> {
  const file = headFile(place);
  if (!isFolder(place) || !existsSync(file)) return null;
  const { metadata, tensors } = await readSafetensors(file);
  const head = parse(metadata.get(HEAD_KEY));
  const weight = tensors.find(({ name }) => name === WEIGHT);
  const bias = tensors.find(({ name }) => name === BIAS);
  const outputs = bias?.shape[1];
  const fits =
    weight?.shape.length === 2 && bias?.shape.length === 2 && bias.shape[0] === 1 && weight.shape[0] === outputs;
  if (head === null || tensors.length !== 2 || !fits || outputs === undefined) throw damaged(file);
  if (head.labels !== null && head.labels.length !== outputs) throw damaged(file);
  const finite = tensors.every(({ data }) => data.every(Number.isFinite));
  if (!finite) throw new StillroomError("input", `${file} holds a value that is not finite`);
  const given = tensors.map(({ name, shape, data }) => ({ name, shape: shape as [number, number], data }));
  return { head, outputs, tensors: given };
}

function damaged(file: string): StillroomError {
  return new StillroomError("input", `${file} is no head that tune of this version wrote`);
}

function parse(text: string | undefined): Head | null {
  try {
    const { version, task, loss, parameters, labels, centre, scale } = JSON.parse(text ?? "") as Head & {
      version: number;
    };
    const numbers = [...parameters, centre, scale].every(Number.isFinite);
    const named = labels === null || labels.every((label) => typeof label === "string");
    if (version !== 1 || typeof task !== "string" || !Object.hasOwn(kindOfLoss, loss) || !numbers || !named)
      return null;
    return { task, loss, parameters, labels, centre, scale };
  } catch {
    return null;
  }
}
