// The kernel trial: one frozen linear layer on one core, per weight type, forward and backward, as a share of the FMA peak.
import { throwIfCancelled } from "../src/support/cancelled.js";
import { unexpected } from "../src/support/errors.js";
import { type NativePrecision, native, rethrow } from "../src/support/native.js";
import { fmaPeak, type Machine, machine } from "./machine.js";
import type { TrialSession } from "./tune.js";

export interface KernelOptions {
  types?: string[];
  variant?: string;
  precision?: NativePrecision;
  repeat: number;
}

interface KernelTime {
  type: string;
  /** inputs x outputs */
  shape: string;
  direction: "forward" | "backward";
  gflops: number;
  fma_share: number;
}

export interface KernelBench {
  trial: "kernels";
  machine: Machine;
  rows: number;
  ours: KernelTime[];
  peer: null;
  ratio: null;
  equal: null;
  /** Lowest and highest share of all. */
  spread: { low: number; high: number };
}

const rows = 512;
const plain = "f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl".split(" ");
const superblocks = "q2_K q3_K q4_K q5_K q6_K iq4_xs iq3_s iq3_xxs iq2_s iq2_xs iq2_xxs".split(" ");
/** Inputs x outputs. K-quants and the like need a multiple of 256 inputs. */
const plainShapes = ["576x576", "576x1536", "1536x576", "2048x2048"];
const superblockShapes = ["768x768", "768x2048", "1536x576", "2048x2048"];

export async function benchKernels(options: KernelOptions, { say, signal }: TrialSession): Promise<KernelBench> {
  const variant = options.variant ?? null;
  const types = checkedTypes(options.types);
  const facts = await machine(1, variant);
  const ours: KernelTime[] = [];
  for (const type of types) {
    const shapes = superblocks.includes(type) ? superblockShapes : plainShapes;
    for (const shape of shapes) {
      const [inputs, outputs] = shape.split("x").map(Number) as [number, number];
      for (const direction of ["forward", "backward"] as const) {
        throwIfCancelled(signal, "measuring kernels"); // a measurement in hand ends first: the engine does not look at signals
        // The peak is taken again beside each measurement: clocks move.
        const peak = await fmaPeak(variant);
        const trial = {
          type,
          rows,
          inputs,
          outputs,
          backward: direction === "backward",
          repeat: options.repeat,
          variant,
          ...(options.precision && { precision: options.precision }),
        };
        const gflops = await native().measureLinear(trial).catch(rethrow);
        ours.push({ type, shape, direction, gflops, fma_share: gflops / peak });
        say(
          `${type} ${shape} ${direction}: ${gflops.toFixed(1)} GFLOP/s, ${((gflops / peak) * 100).toFixed(0)} % of the peak`,
        );
      }
    }
  }
  const shares = ours.map(({ fma_share }) => fma_share);
  const spread = { low: Math.min(...shares), high: Math.max(...shares) };
  return { trial: "kernels", machine: facts, rows, ours, peer: null, ratio: null, equal: null, spread };
}

/** Before anything is measured: a wrong name at the end of the list would cost all that was measured before it. */
function checkedTypes(asked: string[] | undefined): string[] {
  const known = [...plain, ...superblocks];
  return (asked ?? known).map((name) => {
    const type = known.find((one) => one.toLowerCase() === name.toLowerCase());
    if (type === undefined) throw unexpected(`names out of ${known.join(", ")}`, "types", name);
    return type;
  });
}
