// How the results of prompt look to a person.
import type { ComparedPrompt, PromptPair, PromptResult } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { colours, interval, plain, share, significant, table } from "./print.js";

/** Characters of an instruction in a table. */
const shownInstruction = 40;

export function promptText({ task, errors, prompt, shown, tried, compared, saved }: PromptResult): string {
  const c = colours(process.stdout);
  const out: string[] = [];
  if (compared) {
    const { prompts, pairs, best, split, metric } = compared;
    out.push(`${c.bold(plain(task))} · ${counted(prompts[best]!.rows, `${split} row`)}\n`);
    const head = ["", "shots", "selection", metric, "95 %", "tokens a row", "rows/s"];
    const several = new Set(prompts.map(({ instruction }) => instruction)).size > 1;
    const rows = prompts.map((one, place) => comparedRow(one, place, best, several));
    out.push(table([[...head, ...(several ? ["instruction"] : [])], ...rows]));
    const tests = pairs.filter(({ first, second }) => first === best || second === best);
    for (const { first, second, only_first, only_second, p_value, p_holm } of tests) {
      const other = first === best ? second : first;
      const [ours, theirs] = first === best ? [only_first, only_second] : [only_second, only_first];
      out.push(
        `${best + 1} against ${other + 1}: only ${best + 1} right: ${ours}, only ${other + 1}: ${theirs}; McNemar p = ${significant(p_value)}, with Holm's correction ${significant(p_holm)}\n`,
      );
    }
    out.push(pairsText(pairs));
    for (const { refused } of prompts) if (refused) out.push(`${c.yellow("not scored:")} ${plain(refused)}\n`);
  }
  if (shown) {
    const lines = shown.text.split("\n").map(plain);
    out.push(`${lines.join("\n")}\n`, `${c.bold(counted(shown.tokens.length, "token"))}: `);
    out.push(`${shown.tokens.map(({ id, text }) => `${id} ${JSON.stringify(plain(text))}`).join(" · ")}\n`);
  }
  if (tried) {
    out.push(`${c.bold(plain(tried.answer))}\n`);
    const likely = Object.entries(tried.probabilities ?? {}).sort(([, a], [, b]) => b - a);
    const { thresholds } = tried;
    const head = thresholds ? [["label", "probability", "given from"]] : [];
    const from = (label: string) =>
      thresholds ? [thresholds[label] == null ? "never" : share(thresholds[label])] : [];
    const lines = likely.map(([label, p]) => [plain(label), share(p), ...from(label)]);
    if (lines.length > 0) out.push(table([...head, ...lines]));
  }
  if (errors > 0) out.push(`${c.yellow(counted(errors, "bad row"))} left out\n`);
  if (saved) out.push(`saved ${plain(saved)}: ${counted(prompt.shots, "shot")}, ${prompt.select}\n`);
  return out.join("");
}

/** Of three prompts and more, every two: the lines above have those with the best. */
function pairsText(pairs: readonly PromptPair[]): string {
  const places = [...new Set(pairs.flatMap(({ first, second }) => [first, second]))].sort((a, b) => a - b);
  if (places.length < 3) return "";
  const cell = (row: number, column: number) => {
    const pair = pairs.find(({ first, second }) => first === Math.min(row, column) && second === Math.max(row, column));
    return pair === undefined ? "" : significant(row < column ? pair.p_value : pair.p_holm);
  };
  const lines = places.map((row) => [`${row + 1}`, ...places.map((column) => cell(row, column))]);
  const head = ["", ...places.map((place) => `${place + 1}`)];
  return `McNemar p of every two, below the diagonal with Holm's correction\n${table([head, ...lines])}`;
}

function comparedRow(one: ComparedPrompt, place: number, best: number, several: boolean): string[] {
  const { shots, select, calibrate, metric, tokens_per_row, rows_per_second, instruction } = one;
  const way = shots === 0 ? "" : select;
  const words = [way, ...(calibrate ? ["calibrated"] : [])].filter(Boolean).join(", ");
  const short = instruction.length > shownInstruction ? `${instruction.slice(0, shownInstruction - 1)}…` : instruction;
  return [
    `${place + 1}${place === best ? " best" : ""}`,
    `${shots}`,
    words,
    ...(metric ? [share(metric.value), interval(metric)] : ["does not fit", ""]),
    tokens_per_row?.toFixed(0) ?? "",
    rows_per_second?.toFixed(1) ?? "",
    ...(several ? [plain(short)] : []),
  ];
}
