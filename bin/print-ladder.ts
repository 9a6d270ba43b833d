// How a ladder looks to a person: a line a rung, and what is to be said of them. Knows the fields of its result; computes nothing.
import { testOf } from "../src/evaluate/index.js";
import type { LadderResult } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { clock, colours, fileSize, interval, plain, share, significant, table } from "./print.js";

export function ladderText(result: LadderResult): string {
  const { task, metric, out, rungs, notes } = result;
  const c = colours(process.stdout);
  const head = ["rung", metric, "95 %", "p", "gap", "95 %", "flips", "95 %", "rows/s", "memory", "file", "made in"];
  const lines = rungs.map(
    ({ rung, metrics, p_value, fairness, rows_per_second, memory_bytes, bytes, seconds, ...made }) => {
      const found = metrics[metric];
      const { gap, swap } = fairness;
      return [
        made.select === null ? rung : `${counted(made.shots, "example")} in the prompt (${made.select})`,
        ...(found ? [share(found.value), interval(found)] : ["", ""]),
        p_value === null ? "" : significant(p_value),
        ...(gap
          ? [`${share(gap.difference.value)}${gap.p_holm < 0.05 ? "*" : ""}`, interval(gap.difference)]
          : ["–", ""]),
        ...(swap ? [share(swap.flips.value), interval(swap.flips)] : ["–", ""]),
        rows_per_second.toFixed(1),
        memory_bytes === null ? "?" : fileSize(memory_bytes),
        fileSize(bytes),
        seconds < 1 ? "" : clock(seconds),
      ];
    },
  );
  const last = rungs.at(-1);
  // Those that need no head stand first, the quantised student last.
  const skipped = (quantised: boolean) =>
    notes
      .filter(({ rung, climbed }) => !climbed && quantised === (rung === "quantised student"))
      .map(({ rung }) => [rung, "not climbed", ...head.slice(2).map(() => "")]);
  const note = [
    ...notes.map(({ rung, why }) => `${rung}: ${plain(why)}`),
    ...rungs.flatMap(({ rung, errors }) => (errors > 0 ? [`${rung}: ${counted(errors, "bad row")} left out`] : [])),
    `p: ${testOf(result)} against the rung above`,
    "gap: the largest difference between two groups (* more than chance, of all that were looked at)",
    "flips: the share of answers that turn when the row speaks of another group, of the worst pair of groups; audit shows all of both",
  ];
  return `${c.bold(plain(task))} · ${counted(last?.rows ?? 0, "test row")}\n${table([head, ...skipped(false), ...lines, ...skipped(true)])}${note.join("\n")}\nall of it in ${plain(out)}\n`;
}
