// What tells one adapter from another, wherever its files lie.
import { createHash } from "node:crypto";
import type { NativeLora } from "../support/native.js";
import type { Head } from "./head.js";

/** Of an adapter's values, the same from whichever of its files it was read; and what its product is multiplied by. Of a head of the task's own also what it stands for. */
export function hashLora(lora: NativeLora, head: Head | null = null): { sha256: string; scale: number } {
  const { alpha, rank, rsLora } = lora.options;
  const hash = createHash("sha256");
  for (const { name, shape, data } of lora.tensors().sort((a, b) => (a.name < b.name ? -1 : 1))) {
    hash.update(JSON.stringify([name, shape]));
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  if (head) hash.update(JSON.stringify(head));
  return { sha256: hash.digest("hex"), scale: alpha / (rsLora ? Math.sqrt(rank) : rank) };
}
