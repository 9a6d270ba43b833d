// What a run's answers are calibrated by: fitted on its validation rows when it has ended, and written beside what it trained.
import { type Calibration, writeCalibration } from "../adapter/index.js";
import { evaluateRows, fitCalibration, type ScoringJob } from "../evaluate/index.js";
import { StillroomError } from "../support/errors.js";
import { hasLabels, type Task } from "../task/index.js";
import type { TuneSettings } from "../train/index.js";

/** Fewer rows than this say little of how sure a model may be: then only what was asked for is fitted. */
const enough = 50;

/** Throws "usage" where something is to be fitted that the task's kind has not, or (`rows` 0) without rows to fit it on. */
export function requireFits({ kind, name }: Task, settings: TuneSettings, rows: number | null): void {
  const { targetPrecision, coverage } = settings;
  const calibrate = settings.calibrate === "none" ? null : settings.calibrate;
  const asked = Object.entries({ calibrate, targetPrecision, coverage }).filter(([, value]) => value !== null);
  for (const [option] of asked) {
    const options = { options: [option] };
    const ofNumbers = option === "coverage";
    if (ofNumbers ? kind !== "regress" : !hasLabels(kind)) {
      const whose = ofNumbers ? "numbers" : "labels";
      throw new StillroomError("usage", `${option} is of ${whose}, and ${name} is of kind ${kind}`, options);
    }
    const remedy = "give the task file data.validation, such as { from: train, fraction: 0.1 }";
    if (rows === 0)
      throw new StillroomError(
        "usage",
        `${option} is fitted on validation rows, and ${name} has none: ${remedy}`,
        options,
      );
  }
}

/** Fits and writes; gives the file, or null where there was nothing to fit. Throws "input" where no threshold reaches the precision. */
export async function calibrateRun(run: string, job: ScoringJob, settings: TuneSettings): Promise<string | null> {
  const { calibrate, targetPrecision, coverage } = settings;
  const { kind } = job.task;
  if (kind === "generate") return null;
  const asked = hasLabels(kind) ? (calibrate ?? "none") !== "none" || targetPrecision !== null : coverage !== null;
  if (!asked && (job.rows.length < enough || calibrate === "none")) return null;
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
