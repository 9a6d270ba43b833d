// What a run's answers are calibrated by: fitted on its validation rows when it has ended, and written beside what it trained.
import { type Calibration, writeCalibration } from "../adapter/index.js";
import { evaluateRows, fitCalibration, type ScoringJob } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import { hasLabels, type Task } from "../task/index.js";
import type { TuneSettings } from "../train/index.js";

/** Fewer rows than this say little of how sure a model may be: then only what was asked for is fitted. */
const enough = 50;

/** The options that ask for something to be fitted. */
function askedOf({ calibrate, targetPrecision, coverage }: TuneSettings): string[] {
  const asked = { calibrate: calibrate === "none" ? null : calibrate, targetPrecision, coverage };
  return Object.entries(asked).flatMap(([option, value]) => (value === null ? [] : [option]));
}

/** Throws "usage" where something is to be fitted that the task's kind has not. */
export function requireFits({ kind, name }: Task, settings: TuneSettings): void {
  for (const option of askedOf(settings)) {
    const whose = option === "coverage" ? "numbers" : "labels";
    if (whose === "numbers" ? kind === "regress" : hasLabels(kind)) continue;
    const message = `${option} is of ${whose}, and ${name} is of kind ${kind}`;
    throw new StillroomError("usage", message, { options: [option] });
  }
}

/** Throws "usage" where something is to be fitted: for a task without validation rows to fit it on. */
export function requireNoFit({ name }: Task, settings: TuneSettings): void {
  const [option] = askedOf(settings);
  if (option === undefined) return;
  const remedy = "give the task file data.validation, such as { from: train, fraction: 0.1 }";
  const message = `${option} is fitted on validation rows, and ${name} has none: ${remedy}`;
  throw new StillroomError("usage", message, { options: [option] });
}

/** Fits and writes; gives the file, or null where there was nothing to fit. Throws "input" where no threshold reaches the precision. */
export async function calibrateRun(run: string, job: ScoringJob, settings: TuneSettings): Promise<string | null> {
  const { calibrate, targetPrecision, coverage } = settings;
  const { kind } = job.task;
  if (kind === "generate") return null;
  if (askedOf(settings).length === 0 && (job.rows.length < enough || calibrate === "none")) return null;
  const { rows } = await evaluateRows(job);
  if (rows.length === 0) return null;
  const method = calibrate ?? (rows.length < enough ? "none" : "temperature");
  const calibration: Calibration = fitCalibration(rows, "validation", {
    method,
    precision: targetPrecision,
    coverage: coverage ?? 0.9,
    sets: kind === "multilabel",
  });
  return writeCalibration(run, calibration);
}
