// Answers for tests: requests, makers and entries with everything at a plain value but what is given.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { open } from "lmdb";
import { type Answer, type Entry, type Maker, requestKey, type TextRequest } from "../../src/store/index.js";

export const maker: Maker = {
  model: "toy",
  weights: "a".repeat(64),
  adapter: null,
  engine: "stillroom 0.1.0",
  precision: "f32",
  variant: "avx2",
};

export function textRequest(given: Partial<TextRequest> = {}): TextRequest {
  const drawn = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0 };
  const rest = { maxTokens: 16, stop: [], repetitionPenalty: 1, repetitionWindow: 64, grammar: null };
  return { kind: "text", prompt: Int32Array.of(1, 2, 3), ...drawn, ...rest, logProbabilities: null, ...given };
}

export function answerOf(text: string, given: Partial<Answer> = {}): Answer {
  return {
    text,
    probabilities: null,
    ended: "end",
    promptTokens: 3,
    answerTokens: 1,
    logProbabilities: null,
    ...given,
  };
}

/** What an embedding is kept as. */
export function embeddingOf(values: readonly number[]): Answer {
  return answerOf("", { ended: "embedding", answerTokens: 0, embedding: Float32Array.from(values) });
}

/** An entry of its own number, found by the texts. */
export function entryOf(number: number, text: string, texts: string[] = []): Entry {
  return {
    key: requestKey(maker, textRequest({ prompt: Int32Array.of(number) })),
    answer: answerOf(text),
    maker,
    texts,
  };
}

export function freshFolder(): string {
  return path.join(mkdtempSync(path.join(tmpdir(), "stillroom-store-")), "the.store");
}

/** Changes a table of a closed store as no part of it would: its first row, or that whose key begins so. */
export async function tamper(
  folder: string,
  table: string,
  change: (value: Buffer) => Buffer,
  key = "",
): Promise<void> {
  const root = open<Buffer, Uint8Array>({ path: folder, noSubdir: false, encoding: "binary", keyEncoding: "binary" });
  const db = root.openDB<Buffer, Uint8Array>({ name: table, encoding: "binary", keyEncoding: "binary" });
  const rows = [...db.getRange({})].map((row) => ({ key: Buffer.from(row.key), value: Buffer.from(row.value) }));
  const first = rows.find((row) => row.key.toString("latin1").startsWith(key))!;
  await db.put(first.key, change(first.value));
  await root.flushed;
  await root.close();
}

/** With another bit at a place. */
export const flipped = (value: Buffer, at: number): Buffer => {
  value[at] = value[at]! ^ 1;
  return value;
};
