// What a job reads, by its name in messages, and the refusal to write over it. Opens nothing.
import { realpath } from "node:fs/promises";
import path from "node:path";
import { StillroomError } from "./errors.js";

/** A file that a job reads. */
export interface InputFile {
  /** "the task file", as a sentence goes on after the path. */
  what: string;
  file: string;
}

/** Throws "usage" where a job would replace a file that it reads, however the two paths are spelt. */
export async function requireNoInput(output: string, inputs: readonly InputFile[]): Promise<void> {
  const place = await placeOf(output);
  for (const { what, file } of inputs) {
    if ((await placeOf(file)) !== place) continue;
    throw new StillroomError("usage", `${output} is ${what}; choose another file`);
  }
}

/** Where a path leads: links are followed as far as there are files. */
async function placeOf(file: string): Promise<string> {
  const absolute = path.resolve(file);
  return realpath(absolute).catch(async () => {
    const folder = path.dirname(absolute);
    return path.join(await realpath(folder).catch(() => folder), path.basename(absolute));
  });
}
