// Requests as the bytes of a chunk, and back. Knows no database.
import { deflateSync, inflateSync } from "node:zlib";
import type { Request } from "../store/index.js";
import { StillroomError } from "../support/errors.js";

/** JSON with tokens as lists, deflated: what rows repeat, such as their labels, takes next to nothing. zlib's checksum stands at the end. */
export function packChunk(requests: readonly Request[]): Buffer {
  const text = JSON.stringify(requests, (_, value) => (value instanceof Int32Array ? [...value] : value));
  return deflateSync(text, { level: 1 });
}

/** Throws "input" for bytes that are no chunk. */
export function unpackChunk(bytes: Buffer): Request[] {
  try {
    const requests = JSON.parse(inflateSync(bytes).toString()) as Request[];
    return requests.map((request) => {
      const prompt = Int32Array.from(request.prompt);
      if (request.kind !== "labels") return { ...request, prompt };
      const labels = request.labels.map(({ text, tokens }) => ({ text, tokens: Int32Array.from(tokens) }));
      return { ...request, prompt, labels };
    });
  } catch (error) {
    throw new StillroomError("input", `a chunk of the queue is damaged: ${(error as Error).message}`, { cause: error });
  }
}

export const packTokens = (tokens: Int32Array): Buffer =>
  Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength);

export function unpackTokens(bytes: Buffer): Int32Array {
  return Int32Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readInt32LE(4 * at));
}
