// What answers requests: a model with its adapter, and who that is for the store. Sorts by what prompts share; knows no file and no store.
import { readFileSync } from "node:fs";
import path from "node:path";
import { type Calibration, type Head, hashLora, loadAdapter, loadCalibration, loadHead } from "../adapter/index.js";
import { type DecodedRow, type DecodeRequest, decodeRows } from "../decode/index.js";
import { embedBatches, poolings } from "../embed/index.js";
import { answerByHead, applyCalibration, chooseLabels } from "../evaluate/index.js";
import { type Model, packageRoot } from "../model/index.js";
import type { Answer, EmbeddingRequest, LabelsRequest, Maker, Request, TextRequest } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import { hashFile } from "../support/files.js";
import { type NativeLora, type NativePrecision, native } from "../support/native.js";
import { compareTokens, sharedPrefix } from "../tokens/index.js";

export interface Engine {
  model: Model;
  lora: NativeLora | null;
  /** The lora's own head, where it has one. */
  head: Head | null;
  /** Of the run that the adapter lies in. */
  calibration: Calibration | null;
  /** Where llama.cpp runs the model: the GGUF LoRA. */
  adapter: string | undefined;
  maker: Maker;
  /** What makes tokens of texts, and its version. */
  tokens: string;
}

/** Opens what a batch computes with, and reads the model's file for its hash. Throws "usage" for a closed model. */
export async function openEngine(
  model: Model,
  adapter: string | undefined,
  precision: NativePrecision,
): Promise<Engine> {
  model.requireOpen();
  const lora = adapter !== undefined && model.tunable ? await loadAdapter(model.native, adapter) : null;
  const head = await loadHead(lora ? adapter : undefined);
  const calibration = await loadCalibration(adapter);
  const { dependencies, version } = JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
    version: string;
  };
  const own = model.tunable;
  const llama = `llama.cpp of node-llama-cpp ${dependencies["node-llama-cpp"]}`;
  const hashed = lora
    ? hashLora(lora, head)
    : adapter === undefined
      ? null
      : { sha256: await hashFile(adapter), scale: null };
  const maker: Maker = {
    model: model.info.name ?? path.basename(model.info.path),
    weights: await hashFile(model.info.path),
    adapter: hashed,
    engine: `stillroom ${version}${own ? "" : `, ${llama}`}`,
    precision: own ? precision : "llama.cpp",
    variant: own ? (native().variants[0] ?? "portable") : "llama.cpp",
  };
  return { model, lora, head, calibration, adapter: lora ? undefined : adapter, maker, tokens: llama };
}

/** Why a request has no answer. */
export interface Failure {
  reason: string;
  /** The work failed, and not the request; undefined: it cannot be answered as it is. */
  atWork?: boolean | undefined;
}

/** What became of a request: its answer, or why there is none. */
export type Outcome = Answer | Failure;

/** A request as decode takes it. */
export function decodable({ kind: _, grammar, logProbabilities, ...request }: TextRequest): DecodeRequest {
  return { ...request, grammar: grammar ?? undefined, logProbabilities: logProbabilities ?? undefined };
}

/** What a decoded row says: only an answer that came to its end is one. */
export function outcomeOf({ ended, reason, text, promptTokens, tokens, logProbabilities }: DecodedRow): Outcome {
  if (ended === "refused") return { reason: reason! };
  if (ended === "cancelled") return { reason: "was called off", atWork: true };
  return { text, probabilities: null, ended, promptTokens, answerTokens: tokens.length, logProbabilities };
}

export type Requests = readonly Request[];
/** Hears of a request that is done; work waits until it returns. */
export type Tell = (place: number, outcome: Outcome, tokens: number) => Promise<void>;

/** Rows of one call of the scorer: what is lost at most when it is cut off. */
const labelRows = 256;

/** The beginning that prompts share, of which each batch of choices computes one: of the first rows of the input, so that it is the same in every run. */
export function frontOf(prompts: readonly Int32Array[]): Int32Array {
  const [first, ...others] = prompts;
  if (first === undefined) return new Int32Array(0);
  return first.slice(0, Math.min(first.length - 1, ...others.map((prompt) => sharedPrefix(first, prompt))));
}

/**
 * Answers requests, those with a beginning in common side by side, and tells each as it is done.
 *
 * @param front - of frontOf
 */
export async function answerAll(
  engine: Engine,
  requests: Requests,
  front: Int32Array,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const places = [...requests.keys()].sort((a, b) => compareTokens(requests[a]!.prompt, requests[b]!.prompt) || a - b);
  await chooseAll(engine, requests, places, front, tell, signal);
  await embedAll(engine, requests, places, tell, signal);
  await writeAll(engine, requests, places, tell, signal);
}

async function chooseAll(
  { model, lora, head }: Engine,
  requests: Requests,
  places: number[],
  front: Int32Array,
  tell: Tell,
  signal: AbortSignal,
) {
  const choices = places.filter((place) => requests[place]!.kind === "labels");
  for (let at = 0; at < choices.length && !signal.aborted; at += labelRows) {
    const now = choices.slice(at, at + labelRows);
    const rows = now.map((place) => requests[place] as LabelsRequest);
    const none = () => undefined;
    const answers =
      lora && head
        ? await answerByHead({ model, lora, head, front }, prompts(rows), none)
        : await chooseLabels({ model, lora, front }, rows, none);
    for (const [row, answered] of answers.entries()) {
      const { prompt, labels, calibration } = rows[row]!;
      const { prediction, probabilities, interval, open } = applyCalibration(calibration, answered);
      const answerTokens = labels.reduce((sum, { tokens }) => sum + tokens.length, 0);
      const counts = { promptTokens: prompt.length, answerTokens };
      const answer: Answer = {
        text: open ? "" : prediction,
        probabilities,
        ...(interval && { interval }),
        ended: "label",
        ...counts,
        logProbabilities: null,
      };
      await tell(now[row]!, answer, prompt.length + answerTokens);
    }
  }
}

/** What a vector says; a text that gives none with finite numbers has none. */
export function embedded(vector: Float32Array | string, { prompt }: EmbeddingRequest): Outcome {
  if (typeof vector === "string") return { reason: vector, atWork: true };
  const counts = { promptTokens: prompt.length, answerTokens: 0, logProbabilities: null };
  return { text: "", probabilities: null, ended: "embedding", ...counts, embedding: vector };
}

async function embedAll(
  { model, lora, adapter }: Engine,
  requests: Requests,
  places: number[],
  tell: Tell,
  signal: AbortSignal,
) {
  for (const pooling of poolings) {
    const isOwn = (request: Request): request is EmbeddingRequest =>
      request.kind === "embedding" && request.pooling === pooling;
    const own = places.filter((place) => isOwn(requests[place]!));
    const asked = own.map((place) => requests[place] as EmbeddingRequest);
    const job = { model, lora, adapter, pooling };
    for await (const { from, vectors } of embedBatches(
      job,
      asked.map(({ prompt }) => prompt),
    )) {
      for (const [at, vector] of vectors.entries())
        await tell(own[from + at]!, embedded(vector, asked[from + at]!), asked[from + at]!.prompt.length);
      if (signal.aborted) return;
    }
  }
}
const prompts = (rows: readonly LabelsRequest[]): Int32Array[] => rows.map(({ prompt }) => prompt);

async function writeAll(
  { model, lora, adapter }: Engine,
  requests: Requests,
  places: number[],
  tell: Tell,
  signal: AbortSignal,
) {
  const texts = places.filter((place) => requests[place]!.kind === "text");
  if (texts.length === 0 || signal.aborted) return;
  const given = texts.map((place) => requests[place] as TextRequest);
  const longest = given.reduce((most, { prompt, maxTokens }) => Math.max(most, prompt.length + maxTokens), 0);
  const asked = given.map(decodable);
  try {
    for await (const row of decodeRows(model, asked, { lora, adapter, longest, wrong: "refuse", signal })) {
      const outcome = outcomeOf(row);
      const tokens = "reason" in outcome ? 0 : outcome.promptTokens + outcome.answerTokens;
      await tell(texts[row.index]!, outcome, tokens);
    }
  } catch (error) {
    // Whoever called it off knows; what is done was told.
    if (!(signal.aborted && error instanceof StillroomError && error.code === "cancelled")) throw error;
  }
}
