// How results look to a person: colours, rounding, tables. Knows the fields of results; computes nothing.
import Table from "cli-table3";
import pc from "picocolors";
import type {
  BatchResult,
  Evaluation,
  Inspection,
  JobStatus,
  Similarity,
  StudentResult,
  TaskKind,
  TeachResult,
  TuneResult,
  WorkerResult,
} from "../src/index.js";
import { counted } from "../src/support/words.js";

/** More labels than this make a table of classes unreadable. */
const labelsShown = 20;
const confusionShown = 10;

/** Colours for a stream: on a terminal, unless NO_COLOR is set; anywhere with FORCE_COLOR. */
export function colours(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  return pc.createColors(!NO_COLOR && (Boolean(FORCE_COLOR) || (stream.isTTY === true && TERM !== "dumb")));
}

/** Controls, what turns the direction of writing, and the line ends of Unicode. */
const controls = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/** Text of a file as a terminal may be given it: what would steer the terminal is spelt out. */
export function plain(text: string): string {
  return text.replace(controls, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function inspectionText(facts: Inspection): string {
  const { types, chat_template, tunable, reason, bytes, ...others } = facts;
  const c = colours(process.stdout);
  const rows: [string, string][] = Object.entries(others).map(([name, value]) => [
    name.replaceAll("_", " "),
    grouped(value),
  ]);
  rows.splice(1, 0, ["size", fileSize(bytes)]);
  rows.push([
    "types",
    Object.entries(types)
      .map(([type, count]) => `${count} × ${type}`)
      .join(", "),
  ]);
  rows.push(["chat template", chat_template === null ? "none" : counted(chat_template.length, "character")]);
  rows.push(["tunable", tunable ? c.green("yes") : `${c.red("no")}: ${plain(reason ?? "")}`]);
  return table(rows);
}

export function evaluationText(evaluation: Evaluation): string {
  const { task, model, adapter, split, shots, rows, errors, metrics, classes, confusion, slices, against } = evaluation;
  const c = colours(process.stdout);
  const parts = [
    c.bold(plain(task)),
    counted(rows, `${split} row`),
    counted(shots, "shot"),
    plain(adapter ? `${model} + ${adapter}` : model),
  ];
  const out = [`${parts.join(" · ")}\n`, table(metricRows(metrics))];
  if (classes && classes.length <= labelsShown) {
    const sets = classes.some(({ f1_interval }) => f1_interval !== undefined);
    const head = ["label", "precision", "recall", "F1", "rows", ...(sets ? ["F1 95 %", "average precision"] : [])];
    out.push(
      table([
        head,
        ...classes.map(({ label, precision, recall, f1, support, f1_interval, ...s }) => [
          ...[plain(label), share(precision), share(recall), share(f1), `${support}`],
          ...(sets
            ? [
                f1_interval ? interval({ low: f1_interval[0], high: f1_interval[1] }) : "–",
                s.average_precision == null ? "–" : share(s.average_precision),
              ]
            : []),
        ]),
      ]),
    );
  }
  if (confusion && confusion.labels.length <= confusionShown) {
    const labels = confusion.labels.map(plain);
    const counts = confusion.counts.map((row, index) => [labels[index]!, ...row.map(String)]);
    out.push(table([["answer ↓ prediction →", ...labels], ...counts]));
  }
  for (const { column, slices: found } of slices ?? []) {
    if (found.length === 0) continue;
    const names = [...new Set(found.flatMap(({ metrics }) => Object.keys(metrics)))];
    const parts = found.map(({ value, rows, metrics }) => {
      return [
        plain(value),
        `${rows}`,
        ...names.map((name) => (metrics[name] ? share(metrics[name].value) : "–")),
        interval(metrics[names[0]!]!),
      ];
    });
    out.push(table([[plain(column), "rows", ...names, `${names[0]} 95 %`], ...parts]));
  }
  if (against) {
    out.push(`against ${plain(against.against)}\n${table(metricRows(against.metrics))}`);
    out.push(`only this one right: ${counted(against.only_first, "row")}, only the other: ${against.only_second}; `);
    out.push(`McNemar p = ${significant(against.p_value)}\n`);
  }
  if (errors > 0) out.push(`${c.yellow(counted(errors, "bad row"))} left out\n`);
  out.push(`${speed(evaluation)}\n`);
  return out.join("");
}

export function tuneText(result: TuneResult): string {
  const { run, steps, rows, loss, validation, best_step, adapter, head, model } = result;
  const c = colours(process.stdout);
  const out = [`${c.bold(plain(run))} · ${counted(steps, "step")} · ${counted(rows, "row")}\n`];
  out.push(`loss ${number(loss.first)} → ${number(loss.last)}\n`);
  if (validation) out.push(`best step ${best_step}\n${table(metricRows(validation))}`);
  const parts = adapter ? [`adapter ${adapter.peft} (PEFT), ${adapter.gguf} (GGUF)`] : [];
  if (head) parts.push(`head ${head}`);
  const made = model ? `model ${model} (GGUF)` : parts.join(" · ");
  out.push(`${plain(made)}\n${speed(result)}\n`);
  return out.join("");
}

export function teachText(result: TeachResult): string {
  const { cache, rows, positions, computed, top_k, hidden_width, bytes } = result;
  const c = colours(process.stdout);
  const states = hidden_width === null ? "" : `, hidden states of ${hidden_width}`;
  const first = `${c.bold(plain(cache))} · ${counted(rows, "row")} · ${counted(positions, "position")} · ${top_k} tokens each${states} · ${fileSize(bytes)}`;
  // Of nothing there is no speed.
  const spent = computed > 0 ? speed(result) : effort(result);
  return `${first}\n${computed} asked now, ${rows - computed} were there\n${spent}\n`;
}

/** kind: of the task that it is made for. */
export function studentText(result: StudentResult, kind: TaskKind): string {
  const { out, type, bytes, parameters, teacher_parameters: of, layers, loss } = result;
  const kept = layers.filter((layer) => layer >= 0);
  const added = layers.length - kept.length;
  const c = colours(process.stdout);
  const size = `${parameters.toLocaleString("en")} of ${of.toLocaleString("en")} parameters`;
  const heads = counted(result.heads, "head");
  const width = `width ${result.width}, ${result.feed_forward} feed-forward channels, ${heads}, ${counted(result.vocabulary, "token")}`;
  return [
    `${c.bold(plain(out))} · ${type} · ${fileSize(bytes)} · ${size}`,
    `layers ${kept.join(", ")} of the teacher${added > 0 ? ` and ${added} new` : ""} · ${width}`,
    ...(parameters === of ? ["nothing was left out: --layers, --ffn, --heads and --vocab make it smaller"] : []),
    `loss of ${counted(result.rows, "row")}: ${number(loss.teacher)} by the teacher, ${number(loss.student)} by the untrained student`,
    // A head goes with an adapter, or alone.
    kind === "regress" || kind === "multilabel"
      ? "train it before use: tune, on the student (an adapter and a head)\n"
      : "train it before use: distill, or tune --method full, on the student\n",
  ].join("\n");
}

/** 1234567 bytes as "1.2 MB". */
export function fileSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${step === 0 ? bytes : (bytes / 1000 ** step).toFixed(1)} ${units[step]}`;
}

/** Seconds as "1:05" or "2:03:04". */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** Four decimals of a loss; a dash where there is none. */
export function number(value: number | null): string {
  return value === null ? "–" : fixed(value, 4);
}

function metricRows(metrics: Record<string, unknown>): string[][] {
  return Object.entries(metrics).map(([name, found]) => {
    if (typeof found === "number") return [name, share(found), ""];
    const known = found as Evaluation["metrics"][string];
    return [name, share(known.value), interval(known)];
  });
}

function speed(result: {
  rows_per_second: number;
  tokens_per_second: number;
  peak_memory_bytes: number;
  seconds: number;
}): string {
  const { rows_per_second, tokens_per_second } = result;
  return `${rows_per_second.toFixed(1)} rows/s · ${tokens_per_second.toFixed(0)} tokens/s · ${effort(result)}`;
}

const effort = ({ peak_memory_bytes, seconds }: { peak_memory_bytes: number; seconds: number }): string =>
  `${fileSize(peak_memory_bytes)} at most · ${clock(seconds)}`;

export function batchText(result: BatchResult): string {
  const { rows, computed, from_store, errors, out, errors_file, stopped } = result;
  const lines = [`${counted(rows, "row")} in ${plain(out)}: ${computed} computed, ${from_store} from the store`];
  if (errors_file !== null) lines.push(`${counted(errors, "row")} failed: ${plain(errors_file)}`);
  if (stopped !== null) lines.push(`stopped by --${stopped.replace("_", "-")}; the same command does the rest`);
  return `${[...lines, speed(result)].join("\n")}\n`;
}

export function similarityText(result: Similarity): string {
  const { threshold, held_out, max_false_hits, nearest_different, store, model } = result;
  const { hits, false_hits, false_hit_rate, found, same, pairs } = held_out;
  const lines = [
    `texts at ${threshold.toFixed(4)} or nearer by ${plain(model)} count as one in ${plain(store)}`,
    `of ${counted(pairs, "pair")} left out of the fit: ${counted(hits, "hit")}, ${false_hits} of them false: ${share(false_hit_rate.value)} [${interval(false_hit_rate)}], at most ${max_false_hits} allowed`,
    `of ${same} that mean the same, found: ${share(found.value)} [${interval(found)}]`,
    ...nearest_different.map(
      ({ a, b, similarity }) => `different at ${similarity.toFixed(4)}: ${plain(a)} | ${plain(b)}`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}

export function workerText(result: WorkerResult): string {
  const { rows, chunks, computed, from_store, errors } = result;
  const words = `${counted(rows, "row")} in ${counted(chunks, "chunk")}: ${computed} computed, ${from_store} from the stores`;
  return `${[words, ...(errors > 0 ? [`${counted(errors, "row")} failed`] : []), speed(result)].join("\n")}\n`;
}

export function jobsText(jobs: readonly JobStatus[]): string {
  if (jobs.length === 0) return "no jobs\n";
  const head = ["job", "input", "state", "done", "rows", "errors", "workers", "rows/s", "model"];
  const rows = jobs.map(({ job, input, state, done, rows, errors, workers, rows_per_second, model }) => [
    ...[`${job}`, plain(input), state, grouped(done), grouped(rows), grouped(errors)],
    ...[`${workers}`, rows_per_second.toFixed(1), plain(model)],
  ]);
  return table([head, ...rows]);
}

/** Fields of a result, one a line; lists and what is null are left out, sizes are as people read them. */
export function facts(result: object): string {
  const rows = Object.entries(result).flatMap(([name, value]): [string, string][] => {
    if (value === null || Array.isArray(value)) return [];
    if (typeof value === "object")
      return Object.entries(value).map(([key, one]) => [`${name} ${plain(key)}`, grouped(one)]);
    return [[name.replaceAll("_", " "), /bytes$/.test(name) ? fileSize(value as number) : grouped(value)]];
  });
  return table(rows);
}

export function share(value: number): string {
  return fixed(value, 3);
}

/** So many decimals; a zero has no sign. */
function fixed(value: number, decimals: number): string {
  return value.toFixed(decimals).replace(/^-(?=[0.]+$)/, "");
}

export function signed(value: number): string {
  return `${value > 0 ? "+" : ""}${share(value)}`;
}

/** A dash where there is none. */
export function interval({ low, high }: { low: number | null; high: number | null }): string {
  return low === null || high === null ? "–" : `${share(low)} – ${share(high)}`;
}

export function significant(value: number): string {
  return String(Number(value.toPrecision(3)));
}

export function grouped(value: unknown): string {
  return typeof value === "number" ? value.toLocaleString("en-GB") : plain(String(value ?? "–"));
}

/** Columns two spaces apart, without lines. */
export function table(rows: string[][]): string {
  const parts = ["top", "bottom", "left", "right", "mid"].flatMap((side) => [
    side,
    `${side}-mid`,
    `${side}-left`,
    `${side}-right`,
  ]);
  const chars = { ...Object.fromEntries(parts.map((part) => [part, ""])), middle: "  " };
  const made = new Table({ chars, style: { "padding-left": 0, "padding-right": 0, head: [], border: [] } });
  made.push(...rows);
  return `${made.toString().replace(/ +$/gm, "")}\n`;
}
