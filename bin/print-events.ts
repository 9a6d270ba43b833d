// What library callbacks and events look like on stderr. Knows their fields; computes nothing.
import { badRowText } from "../src/dataset/index.js";
import type {
  BadRow,
  BatchProgress,
  DistillEvent,
  DownloadProgress,
  ExportProgress,
  LadderEvent,
  ScoringProgress,
  StudentProgress,
  TeachEvent,
  TuneEvent,
  WorkerProgress,
} from "../src/index.js";
import { counted } from "../src/support/words.js";
import { clock, fileSize, number, plain } from "./print.js";
import type { Progress } from "./print-progress.js";

const phases = {
  merge: "merging",
  importance: "importance matrix",
  measure: "measuring types",
  quantize: "quantising",
  check: "checking",
} as const satisfies Record<ExportProgress["phase"], string>;

export function onDownload(progress: Progress): (event: DownloadProgress) => void {
  return ({ downloadedBytes, totalBytes }) =>
    progress.update(
      "downloading",
      downloadedBytes,
      totalBytes,
      `${fileSize(downloadedBytes)} of ${fileSize(totalBytes)}`,
    );
}

/** label: what is scored, if not the rows themselves. */
export function onScoring(progress: Progress, label = "scoring"): (event: ScoringProgress) => void {
  return ({ rows, totalRows, tokens, seconds }) => {
    const speed = seconds > 0 ? ` · ${Math.round(tokens / seconds)} tokens/s` : "";
    progress.update(label, rows, totalRows, `${rows} of ${counted(totalRows, "row")}${speed}`);
  };
}

export function onCompare(progress: Progress): (event: { name: string; rows: number; totalRows: number }) => void {
  return ({ name, rows, totalRows }) => progress.update(plain(name), rows, totalRows, `${rows} of ${totalRows} rows`);
}

export function onAudit(progress: Progress): (event: { what: string; rows: number; totalRows: number }) => void {
  return ({ what, ...rest }) => onCompare(progress)({ name: what, ...rest });
}

export function onBatch(progress: Progress): (event: BatchProgress) => void {
  return ({ rows, totalRows, fromStore, errors, tokens, seconds, secondsLeft }) => {
    const speed = (count: number) => Math.round(count / Math.max(seconds, 1e-3));
    const words = [`${rows} of ${counted(totalRows, "row")}`, `${speed(rows)} rows/s`, `${speed(tokens)} tokens/s`];
    const known = [`${fromStore} from the store`, counted(errors, "error"), `${clock(secondsLeft)} left`];
    progress.update("answering", rows, totalRows, [...words, ...known].join(" · "));
  };
}

/** How many rows there will be nobody knows: a line now and then. */
export function onWorker(progress: Progress): (event: WorkerProgress) => void {
  let told = Number.NEGATIVE_INFINITY;
  return ({ rows, fromStore, errors, tokens, seconds }) => {
    if (seconds - told < 10) return;
    told = seconds;
    const speed = (count: number) => Math.round(count / Math.max(seconds, 1e-3));
    const words = [counted(rows, "row"), `${speed(rows)} rows/s`, `${speed(tokens)} tokens/s`];
    progress.line([...words, `${fromStore} from the stores`, counted(errors, "error")].join(" · "));
  };
}

export function onExport(progress: Progress): (event: ExportProgress) => void {
  return ({ phase, done }) => progress.update(phases[phase], done, 1);
}

export function onStudent(progress: Progress): (event: StudentProgress) => void {
  const words = {
    layers: "layers",
    channels: "channels",
    vocabulary: "vocabulary",
    write: "writing",
    measure: "measuring",
  };
  return ({ phase, done }) => progress.update(words[phase], done, 1);
}

export function onBad(progress: Progress): (bad: BadRow) => void {
  return (bad) => progress.warn(badRowText(bad));
}

export function onTune(progress: Progress): (event: TuneEvent) => void {
  return (event) => {
    if (event.type === "step") {
      const { step, steps, loss, tokensPerSecond, memoryBytes, secondsLeft } = event;
      const words = [`step ${step} of ${steps}`, `loss ${number(loss)}`, `${Math.round(tokensPerSecond)} tokens/s`];
      progress.update(
        "tuning",
        step,
        steps,
        [...words, fileSize(memoryBytes), `${clock(secondsLeft)} left`].join(" · "),
      );
    } else if (event.type === "validation") {
      const { step, validation, best } = event;
      const metrics = Object.entries(validation.metrics).map(([name, found]) => {
        const value = typeof found === "number" ? found : (found as { value: number }).value;
        return `${name} ${value.toFixed(3)}`;
      });
      const words = [`validation at step ${step}`, `loss ${number(validation.loss)}`, ...metrics];
      progress.line(`${words.join(" · ")}${best ? " (best so far)" : ""}`);
    } else if (event.type === "warning") {
      progress.warn(event.message);
    }
  };
}

export function onTeach(progress: Progress): (event: TeachEvent) => void {
  return (event) => {
    if (event.type === "warning") {
      progress.warn(event.message);
      return;
    }
    const { rows, totalRows, tokensPerSecond, secondsLeft } = event;
    const words = [`${rows} of ${counted(totalRows, "row")}`, `${Math.round(tokensPerSecond)} tokens/s`];
    progress.update("asking the teacher", rows, totalRows, [...words, `${clock(secondsLeft)} left`].join(" · "));
  };
}

export function onDistill(progress: Progress): (event: DistillEvent) => void {
  const [tune, teach] = [onTune(progress), onTeach(progress)];
  return (event) => {
    if (event.type === "teach") teach(event);
    else if (event.type === "phase") progress.line(event.phase === "quantize" ? "quantising" : "comparing");
    else if (event.type !== "end") tune(event);
  };
}

export function onLadder(progress: Progress): (event: LadderEvent) => void {
  const [bad, scoring, swaps, tune, student, distill] = [
    onBad(progress),
    onScoring(progress),
    onScoring(progress, "swaps"),
    onTune(progress),
    onStudent(progress),
    onDistill(progress),
  ];
  return (event) => {
    if (event.type === "begin") progress.line(`rung: ${event.rung}`);
    else if (event.type === "bad") bad(event.bad);
    else if (event.type === "scoring") scoring(event.progress);
    else if (event.type === "swaps") swaps(event.progress);
    else if (event.type === "tune") tune(event.event);
    else if (event.type === "student") student(event.progress);
    else if (event.type === "distill") distill(event.event);
  };
}
