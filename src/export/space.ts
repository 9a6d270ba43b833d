// Whether the disk has room for a model, before any work. Estimates from above; knows no format.
import { statfs } from "node:fs/promises";
import { StillroomError } from "../support/errors.js";
import type { NativeModelInfo, NativeTensor } from "../support/native.js";

/** Metadata (vocabulary, template) and alignment. */
const slack = 16 * 2 ** 20;

/** Bytes of a merged model: the base, and every adapted weight once more in f32. */
export function mergedBytes(info: NativeModelInfo, tensors: readonly NativeTensor[]): number {
  const outputs = new Map(tensors.filter(isB).map(({ name, shape }) => [name.slice(0, -"b".length), shape[0]]));
  const weights = tensors.filter((tensor) => !isB(tensor));
  const adapted = weights.reduce(
    (sum, { name, shape }) => sum + shape[1] * (outputs.get(name.slice(0, -"a".length)) ?? 0),
    0,
  );
  return info.fileBytes + 4 * adapted + slack;
}

/** Bytes that a quantised model will not exceed. */
export function quantizedBytes(info: NativeModelInfo, type: string): number {
  // Block scales and the tensors that a mixed type keeps finer: under two bits a weight, from the types' tables.
  const bits = /F?32$/.test(type) ? 32 : /16$/.test(type) ? 16 : Number(/\d/.exec(type)?.[0] ?? 32) + 2;
  return Math.ceil((info.parameters * bits) / 8) + slack;
}

/** Throws "io" with the numbers when a folder's disk has less free than is needed. */
export async function requireSpace(folder: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new StillroomError("io", `${folder} has ${mib(free)} MiB free, ${mib(needed)} MiB are needed`);
}

function isB({ name }: NativeTensor): boolean {
  return name.endsWith(".lora_b");
}

function mib(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
