// The shapes of this room. Knows no layout.
import type { Row } from "../dataset/index.js";

/** A stretch of a prompt. */
export interface Piece {
  text: string;
  /** true: written by the author of the chat template, may become control tokens; false: text of the task or the data, never. */
  control: boolean;
}

/** A prompt, and the answer as it follows the last piece. */
export interface Prompt {
  pieces: Piece[];
  /** For example " negative". */
  answer: string;
}

/** Answered rows that stand before a question: the same before every row, or chosen for each. */
export type Examples = readonly Row[] | ((row: Row) => readonly Row[]);

/** A task's prompt, ready to be laid out for row after row. */
export interface CompiledPrompt {
  /**
   * The prompt of a row behind answered examples. An example that is the row itself is left out.
   * Throws "input" naming the row when its values do not suit the template; promptOf makes it a bad row.
   */
  render(row: Row, examples: Examples): Prompt;
  /** An answer as it follows the prompt of any row: white space around it is left out, a space put in front where one belongs. */
  renderAnswer(text: string): string;
}

/** What of a model its prompts depend on. */
export interface PromptModel {
  chatTemplate: string | null;
  bosToken?: string;
  eosToken?: string;
}
