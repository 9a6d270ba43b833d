// What the numbers were taken on.
import { cpus, loadavg } from "node:os";
import { native, rethrow } from "../src/support/native.js";

export interface Machine {
  cpu: string;
  threads: number;
  /** Of all threads together: the peak of one core times the threads. */
  fma_peak_gflops: number;
  /** At which all threads together read memory, in 1e9 bytes. */
  bandwidth_peak_gbps: number;
  variant: string;
  /** Of the last minute, before anything of ours ran. Much above 0, and the times say little: PyTorch suffers most. */
  load_average: number;
}

/** From here on a machine counts as busy with something else. */
export const busyLoad = 0.5;

const loadAtStart = loadavg()[0]!;

export async function machine(threads: number, variant: string | null = null): Promise<Machine> {
  const peak = await fmaPeak(variant);
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    threads,
    fma_peak_gflops: peak * threads,
    bandwidth_peak_gbps: await native().measureBandwidth(threads).catch(rethrow),
    variant: variant ?? native().variants[0]!,
    load_average: loadAtStart,
  };
}

/** The best of several measurements on one core: anything else that runs only lowers them. */
export async function fmaPeak(variant: string | null): Promise<number> {
  let best = 0;
  for (let i = 0; i < 5; i++) best = Math.max(best, await native().measureFmaPeak(variant).catch(rethrow));
  return best;
}
