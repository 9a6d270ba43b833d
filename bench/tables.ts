// The results of bench as tables for the eye.
import Table from "cli-table3";
import type { KernelBench } from "./kernels.js";
import type { Measured } from "./numbers.js";
import type { SideResult, TuneBench } from "./tune.js";

const spread = ({ median, low, high }: Measured): string =>
  `${median.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)})`;
const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const plain = { style: { head: [], border: [] } };

export function tuneTable(result: TuneBench): string {
  const table = new Table({
    ...plain,
    head: ["work", "side", "tokens/s", "rows/s", "peak memory", "FMA peak", "tokens computed"],
  });
  const add = (work: string, side: string, of: SideResult): void => {
    table.push([
      work,
      side,
      spread(of.tokens_per_second),
      spread(of.rows_per_second),
      mebibytes(of.peak_memory_bytes),
      percent(of.fma_share),
      percent(of.computed_tokens_share),
    ]);
  };
  for (const [work, ours] of Object.entries(result.ours.work)) {
    add(work, "stillroom", ours);
    const peer = result.peer?.work[work];
    if (!peer) continue;
    add(work, result.peer!.name, peer);
    const [ratio, memory, range] = [result.ratio![work]!, result.memory_ratio![work]!, result.spread![work]!];
    const apart = result.largest_loss_difference![work]!;
    table.push([
      work,
      "ours / peer",
      `${ratio.toFixed(2)} x (${range.low.toFixed(2)}–${range.high.toFixed(2)})`,
      "",
      `1 / ${(1 / memory).toFixed(1)}`,
      "",
      `losses within ${(apart * 100).toFixed(3)} %`,
    ]);
  }
  const { cpu, threads, fma_peak_gflops, variant } = result.machine;
  const where = `${cpu}, ${threads} threads, ${variant}, FMA peak ${fma_peak_gflops.toFixed(0)} GFLOP/s; ${result.model.name}, rank ${result.model.rank}`;
  return `${table.toString()}\n${where}\nmedians (lowest–highest step)${result.equal ? "" : "\nthe two sides do NOT compute the same"}`;
}

export function kernelTable(result: KernelBench): string {
  const columns = [...new Set(result.ours.map(({ shape, direction }) => `${shape} ${direction}`))];
  const table = new Table({ ...plain, head: ["type", ...columns] });
  for (const type of new Set(result.ours.map((one) => one.type))) {
    const cells = columns.map((column) => {
      const found = result.ours.find((one) => one.type === type && `${one.shape} ${one.direction}` === column);
      return found ? percent(found.fma_share) : "";
    });
    table.push([type, ...cells]);
  }
  const { cpu, fma_peak_gflops, variant } = result.machine;
  return `${table.toString()}\n${cpu}, 1 thread, ${variant}, FMA peak ${fma_peak_gflops.toFixed(1)} GFLOP/s; ${result.rows} rows, shares of the peak`;
}
