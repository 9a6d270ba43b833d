// The results of bench as tables for the eye.
import Table from "cli-table3";
import type { NativeProfileRow } from "../src/support/native.js";
import { counted } from "../src/support/words.js";
import type { BatchBench, BatchSide } from "./batch.js";
import type { DecodeBench, DecodeSideResult } from "./decode.js";
import type { DistillBench, DistillSide } from "./distill.js";
import type { KernelBench } from "./kernels.js";
import type { LookupBench, LookupSide } from "./lookup.js";
import { busyLoad, type Machine } from "./machine.js";
import type { Latency, Measured } from "./numbers.js";
import type { OnPolicyBench, OnPolicySide } from "./on-policy.js";
import type { ScoreBench, ScoreSide } from "./score.js";
import type { SideResult, TuneBench } from "./tune.js";

const spread = ({ median, low, high }: Measured): string =>
  `${median.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)})`;
const waits = (of: Latency | null): string =>
  of ? `${(of.p50 * 1000).toFixed(0)}, ${(of.p99 * 1000).toFixed(0)} ms` : "–";
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
  const { name, rank } = result.model;
  const notes = [
    `${describe(result.machine)}; ${name}, ${rank === null ? "all weights" : `rank ${rank}`}`,
    "medians (lowest–highest step)",
  ];
  if (!result.equal) notes.push("the two sides do NOT compute the same");
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function distillTable(result: DistillBench): string {
  const head = ["side", "tokens/s, first epoch", "later epochs", "memory of the loss", "peak memory"];
  const table = new Table({ ...plain, head });
  const add = (side: string, { tokens_per_second, loss_memory_bytes, peak_memory_bytes }: DistillSide): void => {
    const { first_epoch, later_epochs } = tokens_per_second;
    const memory = [mebibytes(loss_memory_bytes), mebibytes(peak_memory_bytes)];
    table.push([side, spread(first_epoch), spread(later_epochs), ...memory]);
  };
  add("stillroom", result.ours);
  const { peer, ratio, spread: range, loss_memory_ratio, loss_difference, cache, model } = result;
  const notes = [
    `${model.teacher}, ${result.work} rows; a student of ${(model.student_parameters / 1e6).toFixed(0)} M of ${(model.parameters / 1e6).toFixed(0)} M parameters, all trained`,
    `kept of a position: ${cache.bytes_per_position} bytes, ${(cache.share * 100).toFixed(2)} % of dense logits in f16`,
  ];
  if (peer && ratio && range && loss_difference) {
    add(peer.name, peer);
    const times = (epoch: "first_epoch" | "later_epochs") =>
      `${ratio[epoch].toFixed(2)} x (${range[epoch].low.toFixed(2)}–${range[epoch].high.toFixed(2)})`;
    table.push([
      "ours / peer",
      times("first_epoch"),
      times("later_epochs"),
      `1 / ${(1 / loss_memory_ratio!).toFixed(0)}`,
      "",
    ]);
    const [first, largest] = [loss_difference.first, loss_difference.largest].map((of) => (of * 100).toFixed(3));
    notes.push(`loss: ${first} % from the peer's over all tokens in the first step, at most ${largest} % in any`);
  }
  notes.push(describe(result.machine), "medians (lowest–highest step)");
  if (!result.equal) notes.push("the two sides do NOT compute the same");
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function onPolicyTable(result: OnPolicyBench): string {
  const { ours, peer, model, rows, prompt_tokens, answer_tokens, ratio, spread: range } = result;
  const table = new Table({ ...plain, head: ["side", "steps/min", "answer tokens/s", "peak memory"] });
  const add = (side: string, of: OnPolicySide): void => {
    const { median, low, high } = of.steps_per_second;
    const minutes = spread({ median: 60 * median, low: 60 * low, high: 60 * high });
    table.push([side, minutes, spread(of.answer_tokens_per_second), mebibytes(of.peak_memory_bytes)]);
  };
  add("stillroom", ours);
  add(peer.name, peer);
  table.push(["ours / peer", `${ratio.toFixed(2)} x (${range.low.toFixed(2)}–${range.high.toFixed(2)})`, "", ""]);
  const notes = [
    `${model.teacher}; a student of ${(model.student_parameters / 1e6).toFixed(0)} M of ${(model.parameters / 1e6).toFixed(0)} M parameters, all trained, on its own answers`,
    `${result.work}; a step: ${rows} prompts of up to ${prompt_tokens} tokens, and up to ${answer_tokens} drawn behind each`,
    `loss of a step on the same tokens: ${(result.loss_difference * 100).toFixed(3)} % apart`,
    `peer: ${JSON.stringify(peer.settings)}`,
    ...[describe(result.machine), "medians (lowest–highest step)"],
  ];
  if (!result.equal) notes.push("the two sides do NOT compute the same");
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function scoreTable(result: ScoreBench): string {
  const table = new Table({ ...plain, head: ["side", "rows/s", "tokens/s", "peak memory", "FMA peak", "accuracy"] });
  const add = (side: string, of: ScoreSide): void => {
    const { rows_per_second, tokens_per_second, peak_memory_bytes, fma_share, accuracy } = of;
    const speeds = [spread(rows_per_second), spread(tokens_per_second)];
    table.push([side, ...speeds, mebibytes(peak_memory_bytes), percent(fma_share), accuracy.toFixed(3)]);
  };
  add("stillroom", result.ours);
  const { peer, spread: range } = result;
  const notes = [`${result.task}, ${result.shots} shots, ${result.labels} labels, ${result.rows_of_turn} rows a turn`];
  if (peer && range) {
    add(peer.name, peer);
    table.push([
      "ours / peer",
      `${result.ratio!.toFixed(2)} x (${range.low.toFixed(2)}–${range.high.toFixed(2)})`,
      "",
      "",
      "",
      "",
    ]);
    const same = `${percent(result.agreement!)} of the answers the same, log-probabilities within ${result.largest_difference!.toPrecision(2)}`;
    notes.push(same, `peer: ${JSON.stringify(peer.settings)}`);
  }
  notes.push(describe(result.machine), "medians (lowest–highest turn)");
  if (!result.equal) notes.push("the two sides do NOT compute the same");
  if (result.errors > 0) notes.push(`${counted(result.errors, "bad row")} left out`);
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function decodeTable(result: DecodeBench): string {
  const head = ["side", "tokens/s", "answers/s", "first token", "next token", "peak memory", "FMA peak", "bandwidth"];
  const table = new Table({ ...plain, head });
  const add = (side: string, of: DecodeSideResult): void => {
    table.push([
      side,
      spread(of.generation_tokens_per_second),
      spread(of.rows_per_second),
      waits(of.first_token_seconds),
      waits(of.token_seconds),
      mebibytes(of.peak_memory_bytes),
      percent(of.fma_share),
      percent(of.bandwidth_share),
    ]);
  };
  add("stillroom", result.ours);
  const { peer, spread: range, model } = result;
  const prompts = `${result.prompt_tokens} tokens of prompt${result.shared_prefix ? ", shared by all" : ""}`;
  const notes = [
    `${model.name} ${model.type}, ${counted(result.sequences, "sequence")}, ${prompts}, ${result.answer_tokens} of answer`,
  ];
  if (peer && range) {
    add(peer.name, peer);
    const [ratio, low, high] = [result.ratio!, range.low, range.high].map((value) => value.toFixed(2));
    table.push(["ours / peer", `${ratio} x (${low}–${high})`, "", "", "", "", "", ""]);
    notes.push(`peer: ${JSON.stringify(peer.settings)}`);
  }
  const apart =
    result.agreement < 1 ? `, the others leave it where it is within ${result.largest_gap.toFixed(3)} nats` : "";
  notes.push(`${percent(result.agreement)} of our answers are llama.cpp's${apart}`);
  notes.push(describe(result.machine), "medians (lowest–highest turn); waits: half, and 99 of 100, are no longer");
  if (!result.equal) notes.push("the two sides do NOT compute the same");
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function batchTable(result: BatchBench): string {
  const table = new Table({ ...plain, head: ["side", "rows/s", "peak memory", "accuracy"] });
  const add = (side: string, of: BatchSide): void => {
    table.push([side, spread(of.rows_per_second), mebibytes(of.peak_memory_bytes), of.accuracy.toFixed(3)]);
  };
  add("stillroom", result.ours);
  const { peer, spread: range, rows_of_turn: rows, prompt_tokens: tokens } = result;
  const notes = [`${result.task}, ${rows} rows a turn, ${tokens.toFixed(1)} tokens a prompt`];
  if (peer && range) {
    add(peer.name, peer);
    const [ratio, low, high] = [result.ratio!, range.low, range.high].map((value) => value.toFixed(2));
    table.push(["ours / peer", `${ratio} x (${low}–${high})`, "", ""]);
    notes.push(`${(result.agreement! * 100).toFixed(1)} % of the answers the same`);
    notes.push(`ours: ${JSON.stringify(result.ours.settings)}`);
    notes.push(`peer: ${JSON.stringify({ ...peer.versions, ...peer.settings })}`);
  }
  notes.push(describe(result.machine), "medians (lowest–highest turn)");
  if (result.equal === false) notes.push("the two sides do NOT compute the same");
  if (result.errors > 0) notes.push(`${counted(result.errors, "bad row")} left out`);
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

export function lookupTable(result: LookupBench): string {
  const table = new Table({
    ...plain,
    head: ["side", "p50, µs", "p99, µs", "look-ups/s", "pipelined/s", "peak memory"],
  });
  const micro = ({ median, low, high }: Measured) => spread({ median: median * 1e6, low: low * 1e6, high: high * 1e6 });
  const add = (side: string, of: LookupSide): void => {
    const pipelined = of.pipelined_per_second ? of.pipelined_per_second.median.toFixed(0) : "–";
    const rate = `${of.lookups_per_second.median.toFixed(0)} (${of.lookups_per_second.low.toFixed(0)}–${of.lookups_per_second.high.toFixed(0)})`;
    table.push([side, micro(of.p50_seconds), micro(of.p99_seconds), rate, pipelined, mebibytes(of.peak_memory_bytes)]);
  };
  add("stillroom", result.ours);
  const { http, keys, lookups_of_turn: lookups } = result;
  const asked = http
    ? `by HTTP: ${http.client}, ${counted(http.connections, "connection")}, ${http.seconds} s a turn`
    : `${lookups} look-ups a turn, one after the other`;
  const notes = [`${keys} keys, ${asked}`, `ours: ${JSON.stringify(result.ours.settings)}`];
  for (const peer of result.peers) {
    add(peer.name, peer);
    const [ratio, low, high] = [peer.ratio, peer.spread.low, peer.spread.high].map((value) => value.toFixed(2));
    table.push([`ours / ${peer.name}`, "", "", `${ratio} x (${low}–${high})`, "", ""]);
    notes.push(`${peer.name}: ${JSON.stringify({ ...peer.versions, ...peer.settings })}`);
  }
  notes.push(describe(result.machine), "medians (lowest–highest turn)");
  if (result.equal === false) notes.push("the two sides do NOT compute the same");
  return [table.toString(), ...notes, ...warnings(result.machine)].join("\n");
}

/** Where the time of each kind of work went, longest first. */
export function profileTable(work: Record<string, { profile?: NativeProfileRow[] }>): string {
  const table = new Table({ ...plain, head: ["work", "part", "kernel", "share", "seconds", "calls"] });
  for (const [name, { profile = [] }] of Object.entries(work)) {
    const all = profile.reduce((sum, { seconds }) => sum + seconds, 0);
    for (const { part, kernel, seconds, calls } of [...profile].sort((a, b) => b.seconds - a.seconds))
      table.push([name, part, kernel, `${((seconds / all) * 100).toFixed(1)} %`, seconds.toFixed(3), calls]);
  }
  return table.toString();
}

function describe({ cpu, threads, variant, fma_peak_gflops, bandwidth_peak_gbps }: Machine): string {
  const peaks = `FMA peak ${fma_peak_gflops.toFixed(1)} GFLOP/s, memory ${bandwidth_peak_gbps.toFixed(1)} GB/s`;
  return `${cpu}, ${counted(threads, "thread")}, ${variant}, ${peaks}`;
}

function warnings({ load_average }: Machine): string[] {
  if (load_average <= busyLoad) return [];
  return [`the machine was busy (load average ${load_average.toFixed(1)}): these times are not worth keeping`];
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
  const notes = [`${describe(result.machine)}; ${result.rows} rows, shares of the peak`, ...warnings(result.machine)];
  return [table.toString(), ...notes].join("\n");
}
