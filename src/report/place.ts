// Where a page is to lie, looked at before the long work that it shows.
import { requireWritable } from "../support/files.js";
import { type InputFile, requireNoInput, requireSameKind } from "../support/inputs.js";

/**
 * Throws "io" where the file cannot be written, "usage" where something else than a page is there, or another file of the job is to be.
 *
 * @param others - what a message names them by, and where they are to lie
 */
export async function requirePlace(file: string, others: readonly InputFile[] = []): Promise<void> {
  await requireNoInput(file, others);
  await requireWritable(file);
  await requireSameKind(file, "<!doctype html>", "HTML page");
}
