// How a comparison looks to a person. Knows the fields of its result; computes nothing.
import type { CompareResult } from "../src/index.js";
import { counted } from "../src/support/words.js";
import { colours, fileSize, interval, plain, share, signed, significant, table } from "./print.js";

export function compareText(result: CompareResult): string {
  const { task, split, shots, prompt, rows, errors, metric, lower_is_better, compared, pairs } = result;
  const c = colours(process.stdout);
  const better = lower_is_better ? "lower is better" : "higher is better";
  const asked = [...(shots === null ? [] : [counted(shots, "shot")]), ...(prompt === null ? [] : [plain(prompt)])];
  const out = [`${[c.bold(plain(task)), counted(rows, `${split} row`), ...asked, better].join(" · ")}\n`];
  const others = Object.keys(compared[0]!.metrics).filter((name) => name !== metric);
  out.push(
    table([
      ["", metric, "95 %", ...others, "rows/s", "size", "trained on"],
      ...compared.map(({ name, metrics, rows_per_second, bytes, trained_rows }) => [
        plain(name),
        share(metrics[metric]!.value),
        interval(metrics[metric]!),
        ...others.map((other) => share(metrics[other]!.value)),
        rows_per_second === null ? "" : rows_per_second.toFixed(1),
        bytes === null ? "" : fileSize(bytes),
        trained_rows === null ? "" : counted(trained_rows, "row"),
      ]),
    ]),
  );
  out.push(
    table([
      ["", "", "difference", "95 %", "p", "p (Holm)", "test"],
      ...pairs.map(({ first, second, difference, p_value, p_holm, test }) => [
        plain(first),
        plain(second),
        signed(difference.value),
        interval(difference),
        significant(p_value),
        p_holm < 0.05 ? c.bold(significant(p_holm)) : significant(p_holm),
        test,
      ]),
    ]),
  );
  if (errors > 0) out.push(`${c.yellow(counted(errors, "row"))} left out: bad, or not answered by all\n`);
  return out.join("");
}
