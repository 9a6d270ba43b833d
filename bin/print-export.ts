// How an export looks to a person: the file, the types that --size chose, and the gate. Computes nothing but sums.
import type { ExportResult, Gate, Mixture } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { colours, fileSize, interval, plain, share, signed, significant, table } from "./print.js";

export function exportText(result: ExportResult): string {
  const { out, type, bytes, mixture, under, gate } = result;
  const c = colours(process.stdout);
  const unwritten = gate && !gate.passed ? " (not written)" : "";
  const first = `${c.bold(plain(out))}${unwritten} · ${type} · ${fileSize(bytes)}\n${mixture ? mixtureText(mixture) : ""}`;
  if (!gate) return `${first}not checked on a task (--check TASK)\n`;
  const { adapter, merged, quantized, name } = gate.metric;
  const rows: string[][] = [["", name, "95 %", "against the one before", "p", "KL to it", "same first token"]];
  if (adapter) rows.push(["run-time adapter", share(adapter.value), interval(adapter), "", "", "", ""]);
  const kl = gate.kl.adapter_merged;
  const agreement = gate.top1_agreement_merged;
  rows.push([
    under === null ? "merged" : "before quantising",
    share(merged.value),
    interval(merged),
    ...changeCells(gate.changes.adapter_merged),
    kl === null ? "" : significant(kl),
    agreement === null ? "" : share(agreement),
  ]);
  const { merged_quantized: moved } = gate.kl;
  const last = [
    moved === null ? "" : significant(moved),
    gate.top1_agreement === null ? "" : share(gate.top1_agreement),
  ];
  const change = changeCells(gate.changes.merged_quantized);
  rows.push(["quantised", share(quantized.value), interval(quantized), ...change, ...last]);
  const beside = under === null ? "" : `both run under ${plain(under)}\n`;
  return `${first}${table(rows)}${beside}${verdictText(gate)}`;
}

/** Whether the gate is passed, on how many rows, and what these leave open. */
export function verdictText({ passed, rows, split, doubts }: Gate): string {
  const c = colours(process.stdout);
  const verdict = passed ? c.green("the gate is passed") : c.red("the gate is not passed");
  const open = doubts.map((doubt) => `${plain(doubt)}\n`).join("");
  return `${verdict} on ${counted(rows, `${split} row`)}\n${open}`;
}

/** The difference and its p; nothing without a model before. */
function changeCells(change: Gate["changes"]["adapter_merged"]): [string, string] {
  return change === null ? ["", ""] : [signed(change.difference.value), significant(change.p_value)];
}

/** A line a layer, a column a matrix; and what the types do together. */
function mixtureText({ budget, split, rows, positions, kl, tensors }: Mixture): string {
  const lines = new Map<string, Map<string, string>>();
  for (const { name, type } of tensors) {
    const [, layer, matrix] = /^(?:blk\.(\d+)\.)?(.+)\.weight$/.exec(name)!;
    const line = layer ?? matrix!;
    lines.set(line, (lines.get(line) ?? new Map()).set(layer ? matrix! : "", type));
  }
  const columns = [...new Set([...lines.values()].flatMap((line) => [...line.keys()]))];
  const types = [...lines].map(([line, of]) => [plain(line), ...columns.map((column) => of.get(column) ?? "")]);
  const measured = `${significant(kl.measured)} nats on ${counted(positions, "position")} of ${counted(rows, `${split} row`)}`;
  return `${table([["", ...columns], ...types])}of ${budget.toLocaleString("en")} bytes; KL ${measured}, ${significant(kl.expected)} expected\n`;
}
