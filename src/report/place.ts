// Where a page is to lie, looked at before the long work that it shows.
import { requireWritable } from "../support/files.js";
import { requireSameKind } from "../support/inputs.js";

/** Throws "io" where the file cannot be written, "usage" where something else than a page is there. */
export async function requirePlace(file: string): Promise<void> {
  await requireWritable(file);
  await requireSameKind(file, "<!doctype html>", "HTML page");
}
