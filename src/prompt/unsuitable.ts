// A row whose values do not suit a template: of all that can go wrong with a prompt, what costs only the row.
import type { BadRow, Row } from "../dataset/index.js";
import { StillroomError } from "../support/errors.js";
import type { CompiledPrompt, Examples, Prompt } from "./types.js";

/** Its message names the row. */
export class UnsuitableRow extends StillroomError {
  constructor(
    readonly row: Row,
    readonly reason: string,
    cause?: unknown,
  ) {
    super("input", `${row.file}:${row.line}: ${reason}`, { cause });
  }
}

/**
 * The prompt of a row, or why it is a bad row. Throws where an example, or the template itself, is at fault.
 *
 * @example
 * ```ts
 * const found = promptOf(compilePrompt(task, model.template), row, []);
 * if ("reason" in found) console.error(found.line, found.reason);
 * else console.log(found.pieces);
 * ```
 */
export function promptOf(prompt: CompiledPrompt, row: Row, examples: Examples): Prompt | BadRow {
  try {
    return prompt.render(row, examples);
  } catch (error) {
    if (!(error instanceof UnsuitableRow) || error.row !== row) throw error;
    return { file: row.file, line: row.line, reason: error.reason };
  }
}
