// How a distillation looks to a person: the run, and teacher, student and quantised student side by side.
import type { DistillResult } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { fileSize, grouped, interval, plain, share, table, tuneText } from "./print.js";
import { verdictText } from "./print-export.js";

export function distillText(result: DistillResult): string {
  const { quantized, gate } = result;
  const checked = gate ? verdictText(gate) : "";
  const made = quantized === null ? "" : `quantised ${plain(quantized)} (GGUF)\n`;
  return `${tuneText(result)}${answersText(result)}${made}${checked}${comparisonText(result)}`;
}

function answersText({ answers }: DistillResult): string {
  if (answers === null) return "";
  const { labelled, right, unlabelled } = answers;
  const open = unlabelled > 0 ? `, and those to ${counted(unlabelled, "row")} without a label` : "";
  return `the teacher's own answers: right to ${right} of ${counted(labelled, "labelled row")}${open}\n`;
}

export function comparisonText({ metric, comparison }: Pick<DistillResult, "metric" | "comparison">): string {
  const head = ["", "parameters", "file", "rows/s", "memory", metric, "95 %", "as the teacher", "95 %"];
  const lines = comparison.map(({ name, parameters, bytes, rows_per_second, memory_bytes, metrics, ...alike }) => {
    const { agreement, agreement_interval: ends } = alike;
    const found = metrics[metric];
    return [
      name === "quantized" ? "quantised student" : name,
      ...[grouped(parameters), fileSize(bytes), rows_per_second.toFixed(1)],
      memory_bytes === null ? "?" : fileSize(memory_bytes),
      ...(found ? [share(found.value), interval(found)] : ["", ""]),
      agreement === null ? "?" : share(agreement),
      interval({ low: ends?.[0] ?? null, high: ends?.[1] ?? null }),
    ];
  });
  return lines.length > 0 ? table([head, ...lines]) : "";
}
