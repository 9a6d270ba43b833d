// A set of labels: as a value of a data file, and as the one text that stands for it wherever answers are texts. Knows no file and no model.
import { unexpected } from "../support/errors.js";
import type { TaskKind } from "../task/index.js";

/**
 * The text of a set of labels, a JSON list in the order of code units: two sets are equal where their texts are.
 *
 * @example
 * ```ts
 * setText(["red", "fruit"]); // '["fruit","red"]'
 * ```
 */
export function setText(labels: readonly string[]): string {
  return JSON.stringify([...labels].sort());
}

/** The labels of such a text. Throws "input" for another one. */
export function labelsOfSet(text: string): string[] {
  const list = jsonOf(text);
  if (Array.isArray(list) && list.every((label) => typeof label === "string")) return list;
  throw unexpected("a JSON list of labels", "an answer", text, "input");
}

/** The labels that an answer to a task of a kind is made of; of numbers and free text none. */
export function labelsIn(kind: TaskKind, answer: string): string[] {
  if (kind === "multilabel") return labelsOfSet(answer);
  return kind === "classify" ? [answer] : [];
}

/**
 * The labels that a value of a data file lists, as they stand there; a text: why it lists none.
 *
 * @param field - as the reason names the value
 * @param separator - between the labels of a text, which is empty for no label (default: a text is a JSON list)
 */
export function readLabels(value: unknown, field: string, separator?: string): string[] | string {
  const list = typeof value === "string" ? listOf(value, separator) : value;
  if (!Array.isArray(list)) {
    const how = typeof value === "string" ? `: write ["a", "b"], or name answer.separator in the task file` : "";
    return `${field} ${shown(value)} is no list of labels${how}`;
  }
  const labels: string[] = [];
  for (const item of list) {
    const label = ["string", "number", "boolean"].includes(typeof item) ? String(item) : "";
    if (label.trim() === "") return `${field} lists ${shown(item)}, which is no label`;
    if (labels.includes(label)) return `${field} lists ${shown(label)} twice`;
    labels.push(label);
  }
  return labels;
}

function listOf(text: string, separator: string | undefined): unknown {
  if (separator === undefined) return jsonOf(text);
  return text.trim() === "" ? [] : text.split(separator).map((label) => label.trim());
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}
